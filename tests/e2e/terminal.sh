# What a reader has besides the page: further terminals, and a system that runs services.
# Sourced by the shell that runs the blocks of a page; TERMINALS is a folder of its own.

# What failed, for whoever reads along; of a function, the words that it was called with.
failed() {
  case $2 in
    return* | command*) echo "$1: $WORDS" ;;
    ". "*) ;;
    *) echo "$1: $2" ;;
  esac >>"$FAILED"
}
trap 'failed $? "$BASH_COMMAND"' ERR

# A command that goes on serving gets a terminal of its own, and is waited for until it is ready;
# one that follows is looked at for a moment; anything else runs here.
run() {
  WORDS=$*
  case " $* " in
    *" serve "* | "make run "* | " make run "*) ;;
    *" --follow "*)
      timeout --signal INT 3 "$@"
      [ $? = 124 ] # it does not end by itself
      return
      ;;
    *)
      command "$@"
      return
      ;;
  esac
  local number said url process
  number=$(ls "$TERMINALS" | wc -l)
  said=$TERMINALS/$number.log
  command "$@" >"$said" 2>&1 </dev/null &
  process=$!
  echo $process >"$TERMINALS/$number.pid"
  until url=$(grep -om1 'serves https\?://[0-9.:]*' "$said") &&
    [ "$(curl -ks -o /dev/null -w '%{http_code}' "${url#serves }/readyz")" = 200 ]; do
    if ! builtin kill -0 $process 2>/dev/null || [ $((waited += 1)) -gt 2000 ]; then
      cat "$said" >&2
      curl -ks "${url#serves }/readyz" >&2
      return 1
    fi
    sleep 0.05
  done
}

# `--timeouts`, `--tail-wait`: a test is no measurement. The rest makes seconds of a minute.
penstock() { run penstock "$@"; }
make() {
  if [ "$1" = load ]; then
    set -- "$@" ARGS="--duration 3 --cookies 500 --profile-wait 1 --aggregate-wait 1 \
      --aggregate-start 1 --tail-wait 10 --timeouts 30 30 60"
  fi
  run make "$@"
}

# Who kills looks whether it has ended.
kill() {
  builtin kill "$@" || return
  local process
  for process in "$@"; do
    while [ "${process#-}" = "$process" ] && builtin kill -0 "$process" 2>/dev/null; do
      sleep 0.05
    done
  done
}

# The unit of docs/operations.md, for a machine without systemd.
systemctl() {
  local process
  case $1 in
    daemon-reload) ;;
    start) penstock serve ;;
    stop)
      for process in "$PENSTOCK_DATA"/*.lock; do
        process=$(cat "$process")
        if builtin kill -0 "$process" 2>/dev/null; then kill "$process"; fi
      done
      ;;
    restart) systemctl stop && systemctl start ;;
  esac
}
