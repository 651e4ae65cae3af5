"""The reference workload of audiences: its stream, its queries, and the oracle of both."""
