//! The protocol over the simulated network: whole transfers by seed, and ladders against a peer played by hand.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, as it should"
)]
#![allow(missing_docs, reason = "tests are named as sentences")]

mod accounts;
mod addresses;
mod adversary;
mod advertise;
mod close;
mod closed_window;
mod confirmation;
mod connectx;
mod cookie;
mod data;
mod early_data;
mod encapsulation;
mod ending;
mod failover;
mod failover_cuts;
mod failover_hints;
mod failover_options;
mod failover_play;
mod failover_return;
mod flood;
mod full_buffer;
mod in_one_go;
mod init_ack;
mod limits;
mod open;
mod options;
mod out_of_the_blue;
mod own_addresses;
mod path_ends;
mod pmtu;
mod race;
mod recovery;
mod refusal;
mod restart;
mod restart_closing;
mod restart_messages;
mod restart_paths;
mod rfc;
mod rfc_acknowledging;
mod rfc_answers;
mod rfc_chunks;
mod rfc_closing;
mod rfc_congestion;
mod rfc_init;
mod rfc_paths;
mod rfc_sending;
mod rfc_setup;
mod rfc_timers;
mod second_ways;
mod send_options;
mod sources;
mod tail_probes;
mod throughput;
mod timetable;
mod transfer;
mod unconfirmed;
mod unknown;
mod withdrawal;
mod world;
