//! The Services: one that names the peers of a pool, one that leads to any, one for each peer that is exposed.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sorcha_crds::ServiceType;

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

/// The TLS port of any ready peer, for networks elsewhere that begin here. The type of `spec.expose` is this one's where
/// the peers have no Services of their own.
pub(super) fn entry(network: &Validated, seen: &ObservedNetwork) -> Service {
    let mut metadata = metadata(names::network(&network.name), network, seen);
    let exposed = network.spec.expose.as_ref().filter(|expose| expose.address.is_none());
    if let Some(expose) = exposed.filter(|expose| !expose.annotations.is_empty()) {
        metadata.annotations = Some(expose.annotations.clone());
    }
    let service_type = exposed.map_or(ServiceType::ClusterIP, |expose| expose.service_type);
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(word(service_type).to_owned()),
            selector: Some(names::selector(&network.name)),
            ports: Some(vec![peer_port()]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// A Service for each peer of a pool that is exposed under an address: for those wanted, and for those that are still
/// there. They lead to peers that are not ready too: whoever dials one of these wants that peer.
pub(super) fn of_peers(network: &Validated, seen: &ObservedNetwork, pool: &Pool) -> Vec<Service> {
    let Some(expose) = &pool.expose else { return Vec::new() };
    let Some(address) = &expose.address else { return Vec::new() };
    let there = seen.pools.get(&pool.name).map_or(0, |pool| pool.replicas);
    let service = |ordinal: u32| {
        let of_this = |text: &str| text.replace("{ordinal}", &ordinal.to_string());
        let port = of_this(address).rsplit(':').next().and_then(|port| port.parse::<i32>().ok())?;
        let name = names::peer(&network.name, &pool.name, ordinal);
        let mut metadata = pool_metadata(name.clone(), network, seen, pool);
        if !expose.annotations.is_empty() {
            let pairs = expose.annotations.iter();
            metadata.annotations = Some(pairs.map(|(key, value)| (key.clone(), of_this(value))).collect());
        }
        let by_node = expose.service_type == ServiceType::NodePort;
        let mut selector = names::pool_selector(&network.name, &pool.name);
        selector.insert("statefulset.kubernetes.io/pod-name".to_owned(), name);
        Some(Service {
            metadata,
            spec: Some(ServiceSpec {
                type_: Some(word(expose.service_type).to_owned()),
                publish_not_ready_addresses: Some(true),
                selector: Some(selector),
                ports: Some(vec![ServicePort {
                    port: if by_node { PORT_PEER.into() } else { port },
                    node_port: by_node.then_some(port),
                    ..peer_port()
                }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        })
    };
    (0..pool.replicas.max(there)).filter_map(service).collect()
}

fn word(service_type: ServiceType) -> &'static str {
    match service_type {
        ServiceType::ClusterIP => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
    }
}

/// By number: a name is not found in every cluster where the peer is a sidecar.
fn peer_port() -> ServicePort {
    ServicePort {
        name: Some("peer".to_owned()),
        port: PORT_PEER.into(),
        target_port: Some(IntOrString::Int(PORT_PEER.into())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
