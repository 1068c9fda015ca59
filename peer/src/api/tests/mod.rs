//! The APIs over real sockets and a real store, by concern.

mod admin;
mod grpc;
mod rest;
mod subscribing;
