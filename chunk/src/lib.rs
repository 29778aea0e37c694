//! Packets, chunks, parameters and error causes of SCTP: bytes to values and back.
