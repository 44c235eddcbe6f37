//! What a node decides: sessions, commands, fan-out, delivery; no IO.
