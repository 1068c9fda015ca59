//! The APIs over real sockets and a real store, by concern.

mod admin;
mod grpc;
mod levels;
mod order;
mod rest;
mod streaming;
mod subscribing;
