//! Who takes part, under which name, and with which configuration.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::gossipsub::{self, Gossipsub};
use crate::iroh::{self, Iroh};
use crate::node;
use crate::plan::Plan;
use crate::sorcha::{self, Sorcha};

/// A library in one configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contender {
    /// rust-libp2p's gossipsub with its defaults.
    Gossipsub,
    /// The same without flood publishing.
    GossipsubMesh,
    /// iroh-gossip with its defaults.
    Iroh,
    /// Sorcha with `state.durable: false`, its state in memory: nothing outlives the machine, as with the others.
    SorchaVolatile,
    /// Sorcha durable, its state in memory: what waiting for a disk costs is the difference to the next.
    SorchaTmpfs,
    /// Sorcha durable, its state on a disk.
    SorchaDisk,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Gossipsub,
        Self::GossipsubMesh,
        Self::Iroh,
        Self::SorchaVolatile,
        Self::SorchaTmpfs,
        Self::SorchaDisk,
    ];

    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gossipsub => "gossipsub",
            Self::GossipsubMesh => "gossipsub-mesh",
            Self::Iroh => "iroh",
            Self::SorchaVolatile => "sorcha-volatile",
            Self::SorchaTmpfs => "sorcha-tmpfs",
            Self::SorchaDisk => "sorcha-disk",
        }
    }

    /// Where its state lies: on `disk`, or in memory.
    pub fn place(self, disk: &Path) -> PathBuf {
        if self == Self::SorchaDisk { disk.to_owned() } else { PathBuf::from("/dev/shm") }
    }

    /// What its nodes find when they start.
    pub fn prepare(self, plan: &Plan) -> Result<()> {
        match self {
            Self::SorchaVolatile | Self::SorchaTmpfs | Self::SorchaDisk => sorcha::prepare(plan),
            Self::Gossipsub | Self::GossipsubMesh | Self::Iroh => Ok(()),
        }
    }

    /// For the report.
    pub fn config(self, plan: &Plan) -> Result<String> {
        let ours = |durable| format!("sorcha-peer {}; {}", version(), sorcha::config(plan, 0, durable));
        Ok(match self {
            Self::Gossipsub => gossipsub::config(true)?,
            Self::GossipsubMesh => gossipsub::config(false)?,
            Self::Iroh => iroh::config(),
            Self::SorchaVolatile => ours(false),
            Self::SorchaTmpfs | Self::SorchaDisk => ours(true),
        })
    }

    /// Runs nodes of it in this process until standard input ends.
    pub async fn run(self, plan: &Path, first: usize, count: usize) -> Result<()> {
        match self {
            Self::Gossipsub => node::run::<Gossipsub<true>>(plan, first, count).await,
            Self::GossipsubMesh => node::run::<Gossipsub<false>>(plan, first, count).await,
            Self::Iroh => node::run::<Iroh>(plan, first, count).await,
            Self::SorchaVolatile => node::run::<Sorcha<false>>(plan, first, count).await,
            Self::SorchaTmpfs | Self::SorchaDisk => node::run::<Sorcha<true>>(plan, first, count).await,
        }
    }
}

fn version() -> String {
    crate::report::version("sorcha-peer")
}
