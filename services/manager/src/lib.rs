//! Leadership, the command loop, deadlines.
