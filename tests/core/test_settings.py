"""Settings: read strictly, once, from the environment over a file."""

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from penstock.core.errors import Misconfigured
from penstock.core.settings import Settings, load, redacted


class Shop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    open_hours: Annotated[float, Meta(ge=0, le=24, description="Hours a day.")] = 8.0
    query_debug: Annotated[bool, Meta(description="Look closer.")] = False


APPLICATIONS = {"shop": Shop}


def core(**environment: str) -> Settings:
    return load(environment, APPLICATIONS)[0]


def shop(**environment: str) -> msgspec.Struct:
    return load(environment, APPLICATIONS)[1]["shop"]


def test_without_anything_set_everything_has_its_default() -> None:
    assert load({}, APPLICATIONS) == (Settings(), {"shop": Shop()})
    assert core(HOME="/root", PATH="/bin", penstock_port="1") == Settings()


def test_variables_reach_the_core_and_the_application_they_name() -> None:
    assert core(PENSTOCK_PORT="9000", PENSTOCK_QUERY_SECONDS_MAX="1.5") == Settings(
        port=9000, query_seconds_max=1.5
    )
    assert shop(PENSTOCK_SHOP_OPEN_HOURS="7.5") == Shop(open_hours=7.5)


@pytest.mark.parametrize(
    ("word", "value"),
    [("on", True), ("off", False), ("true", True), ("false", False), ("1", True), ("0", False)],
)
def test_a_switch_is_set_by_any_of_its_words(word: str, value: bool) -> None:
    assert shop(PENSTOCK_SHOP_QUERY_DEBUG=word) == Shop(query_debug=value)


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("PENSTOCK_PRT", "PENSTOCK_PORT"),
        ("PENSTOCK_HEAD_BYTE_MAX", "PENSTOCK_HEAD_BYTES_MAX"),
        ("PENSTOCK_SHOP_OPEN_HOUR", "PENSTOCK_SHOP_OPEN_HOURS"),
        ("PENSTOCK_SHOP_QUERYDEBUG", "PENSTOCK_SHOP_QUERY_DEBUG"),
    ],
)
def test_a_misspelt_setting_stops_the_start_and_names_the_nearest(
    variable: str, nearest: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        load({variable: "1"}, APPLICATIONS)
    assert str(error.value) == f"unknown setting {variable}; did you mean {nearest}?"


def test_a_setting_like_no_other_stops_the_start_too() -> None:
    with pytest.raises(Misconfigured, match=r"unknown setting PENSTOCK_XYZZY$"):
        core(PENSTOCK_XYZZY="1")


def test_a_setting_or_table_of_an_application_that_is_not_named_is_told_as_such(
    tmp_path: Path,
) -> None:
    told = "if it is of wallet, PENSTOCK_APPLICATIONS does not name that: add its package"
    with pytest.raises(Misconfigured) as error:
        core(PENSTOCK_WALLET_CAP="1")
    assert str(error.value) == f"unknown setting PENSTOCK_WALLET_CAP; {told}"
    (tmp_path / "penstock.toml").write_text("[wallet]\ncap = 1")
    with pytest.raises(Misconfigured) as error:
        core(PENSTOCK_CONFIG=str(tmp_path / "penstock.toml"))
    assert str(error.value).endswith(f"[wallet] in the file of PENSTOCK_CONFIG; {told}")
    with pytest.raises(Misconfigured, match="did you mean PENSTOCK_KAFKA_FORMAT"):
        core(PENSTOCK_KAKFA_FORMAT="json")


def test_an_application_is_named_by_its_package_and_not_by_a_path() -> None:
    for path in ("../x/wallet", "./wallet", "/x/wallet", ".wallet", "x\\wallet"):
        with pytest.raises(Misconfigured, match="a package name, not a path"):
            core(PENSTOCK_APPLICATIONS=path)
    with pytest.raises(Misconfigured, match="my-wallet is no name of a package"):
        core(PENSTOCK_APPLICATIONS="shop, my-wallet")


@pytest.mark.parametrize(
    ("variable", "value", "bound"),
    [
        ("PENSTOCK_PORT", "65536", "65535"),
        ("PENSTOCK_PORT", "-1", "0"),
        ("PENSTOCK_PORT", "http", "int"),
        ("PENSTOCK_QUEUE_RECORDS_MAX", "0", "1"),
        ("PENSTOCK_QUERY_SECONDS_MAX", "-0.5", "0"),
        ("PENSTOCK_LOG_LEVEL", "loud", "debug"),
        ("PENSTOCK_SHOP_OPEN_HOURS", "25", "24"),
        ("PENSTOCK_SHOP_QUERY_DEBUG", "maybe", "bool"),
    ],
)
def test_a_value_out_of_range_is_answered_with_its_name_and_bound(
    variable: str, value: str, bound: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        load({variable: value}, APPLICATIONS)
    assert f"setting {variable}: " in str(error.value)
    assert bound in str(error.value)
    assert f"; it is {value!r}" in str(error.value)


def test_a_secret_that_does_not_fit_is_not_repeated() -> None:
    class Held(msgspec.Struct, frozen=True):
        token: Annotated[str, Meta(pattern="^[a-z]+$")] = ""

    with pytest.raises(Misconfigured, match="setting PENSTOCK_HELD_TOKEN: ") as error:
        load({"PENSTOCK_HELD_TOKEN": "S3CRET"}, {"held": Held})
    assert "S3CRET" not in str(error.value)
    with pytest.raises(Misconfigured, match=r"//me:\*\*\*@x") as error:
        core(PENSTOCK_PORT="http://me:S3CRET@x")
    assert "S3CRET" not in str(error.value)


def test_the_command_line_wins_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('port = 1\nhost = "file"\nhead_bytes_max = 7\n[shop]\nopen_hours = 3\n')
    environment = {
        "PENSTOCK_CONFIG": str(file),
        "PENSTOCK_PORT": "2",
        "PENSTOCK_HOST": "variable",
        "PENSTOCK_SHOP_QUERY_DEBUG": "on",
    }
    found, applications = load(environment, APPLICATIONS, {"port": 3})
    assert found == Settings(port=3, host="variable", head_bytes_max=7)
    assert applications["shop"] == Shop(open_hours=3.0, query_debug=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prt = 1", "did you mean PENSTOCK_PORT?"),
        ("[shop]\nopen = 1", "did you mean PENSTOCK_SHOP_OPEN_HOURS?"),
        ("port = 99999", "PENSTOCK_PORT"),
        ("port = ", "reading PENSTOCK_CONFIG="),
        (
            "[shop_]\nx = 1",
            "unknown table [shop_] in the file of PENSTOCK_CONFIG; did you mean [shop]?",
        ),
        ("[xyzzy]\nx = 1", "unknown table [xyzzy] in the file of PENSTOCK_CONFIG"),
    ],
)
def test_a_faulty_file_stops_the_start(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "penstock.toml").write_text(text)
    with pytest.raises(Misconfigured) as error:
        core(PENSTOCK_CONFIG=str(tmp_path / "penstock.toml"))
    assert told in str(error.value)


def test_a_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="reading PENSTOCK_CONFIG="):
        core(PENSTOCK_CONFIG=str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("clickhouse://user:swordfish@host:8123/db", "clickhouse://user:***@host:8123/db"),
        ("redis://:swordfish@host/0", "redis://:***@host/0"),
        ("redis://:12/sword#fish@host", "redis://:***@host"),
        ("kafkas://user:sword@fish@a:1,b:2?x=y", "kafkas://user:***@a:1,b:2?x=y"),
        ("chdb:///folder", "chdb:///folder"),
        ("kafka://a:1,b:2", "kafka://a:1,b:2"),
    ],
)
def test_a_password_never_prints(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_every_setting_is_described_and_has_its_unit_in_its_name() -> None:
    for struct in (Settings, Shop):
        info = msgspec.inspect.type_info(struct)
        assert isinstance(info, msgspec.inspect.StructType)
        for field in info.fields:
            kind = field.type
            assert isinstance(kind, msgspec.inspect.Metadata), field.name
            assert (kind.extra_json_schema or {})["description"], field.name
            if isinstance(kind.type, msgspec.inspect.FloatType):
                assert {"seconds", "hours"} & set(field.name.split("_")), field.name
