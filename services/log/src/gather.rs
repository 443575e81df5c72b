//! Group commit at a hop, without a clock: what arrives while one group is under way forms the next.
