//! SCTP in user space.
