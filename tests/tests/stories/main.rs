//! The cluster's stories: real processes, a real nats-server, whatever may happen to them. One binary, as each takes long to link;
//! those that want the machine for themselves are beside it.
#![allow(clippy::unwrap_used)] // a failed step is a failed test

mod altered;
mod api;
mod bus;
mod cluster;
mod command_line;
mod configuration;
mod coordinator;
mod credentials;
mod dashboards;
mod dead;
mod dishonest;
mod doctor;
mod documents;
mod full;
mod install;
mod live_view;
mod metrics;
mod queue;
mod replicated;
mod roles;
mod s3;
mod scenarios;
mod sdk;
mod setup;
mod stopped;
mod storage;
mod streamed;
mod support;
mod terminal;
mod tls;
mod traces;
