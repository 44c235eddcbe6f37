//! Several phones and a server that keeps the epoch rule: chats are made, people come and go, processes die at every moment,
//! and what anybody says is read by all who are in the chat, once and in order, and by nobody else.

mod direct;
mod groups;
mod lies;
mod limits;
mod phone;
mod server;
mod storm;
mod world;
