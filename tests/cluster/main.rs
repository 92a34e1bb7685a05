//! Whole nodes on real sockets: what a user of a cluster sees, over gRPC and REST, while nodes come, go and are killed.
//! Without this the parts may each be right and the program wrong.

mod accounts;
mod amounts;
mod await_it;
mod channels;
mod copies;
mod deadline;
mod diverged;
mod early_part;
mod initiator;
mod interrupted;
mod killed;
mod late_hello;
mod late_peer;
mod left_alone;
mod many_waiting;
mod missing;
mod moments;
mod money;
mod nodes;
mod other_make;
mod overlapping;
mod partial;
mod programs;
mod refusals;
mod repeats;
mod rest;
mod restart;
mod ring;
mod snapshots;
mod stand_in;
mod standards;
mod stores;
mod traffic;
mod waste;
mod wiped;
