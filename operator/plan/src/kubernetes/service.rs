//! The two Services: one that names each peer, one that leads to any.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{metadata, pool_metadata};
use crate::names::{self, PORT_PEER};
use crate::observed::ObservedNetwork;
use crate::validate::{Pool, Validated};

/// Gives each peer its name in DNS, before it is ready: peers that wait for each other would never become so.
pub(super) fn headless(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> Service {
    Service {
        metadata: pool_metadata(names::pool(&network.name, &pool.name), network, seen, pool),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::pool_selector(&network.name, &pool.name)),
            ports: Some(vec![peer_port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The TLS port of any ready peer, for networks elsewhere that begin here.
pub(super) fn entry(network: &Validated, seen: &ObservedNetwork) -> Service {
    Service {
        metadata: metadata(names::network(&network.name), network, seen),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::selector(&network.name)),
            ports: Some(vec![peer_port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn peer_port() -> ServicePort {
    ServicePort {
        name: Some("peer".to_owned()),
        port: PORT_PEER.into(),
        target_port: Some(IntOrString::String("peer".to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
