//! Bodies that pack well take fewer bytes between real peers, and are read as they were submitted.

use anyhow::Context as _;
use sorcha_e2e::network::{Network, manifest};
use sorcha_e2e::peer::Solo;
use sorcha_e2e::plain::metric;

/// One that is fetched in chunks, the last of them not whole, and one that travels within a push.
const LONG: usize = 2 * 1024 * 1024 + 5;
const SHORT: usize = 4000;

/// Lines such as a ledger's, each a little different.
fn ledger(bytes: usize) -> Vec<u8> {
    let line = |number: u64| {
        let (from, to) = (number % 7, number % 11);
        // As good as random, so that it does not pack better than amounts do.
        let amount = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        format!(r#"{{"number":{number},"from":"account-{from}","to":"account-{to}","amount":{amount}}}"#)
    };
    (0..).flat_map(|number| line(number).into_bytes()).take(bytes).collect()
}

/// What the peers of a network have sent, all together.
#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    /// Bytes of bodies, as they are.
    plain: u64,
    /// As they were carried.
    carried: u64,
    /// Bytes of the frames that carry pushes and chunks.
    frames: u64,
}

/// A network with this setting takes both bodies at one peer; all others must have the same bytes.
fn run(compression: &str) -> anyhow::Result<Sent> {
    let directory = tempfile::Builder::new().prefix("sorcha-e2e-").tempdir()?;
    let text = format!("{}  links:\n    compression: {compression}\n", manifest("packs", 3));
    std::fs::write(directory.path().join("network.yaml"), text)?;
    let network = Network::start_in(directory)?;
    network.await_linked(3)?;
    let file = network.path().join("body.json");
    let mut all = Vec::new();
    for (count, bytes) in [("1", LONG), ("2", SHORT)] {
        let body = ledger(bytes);
        std::fs::write(&file, &body)?;
        network.cli("peers-0", &["submit", file.to_str().context("a UTF-8 path")?])?.ok()?;
        all.extend(body);
        for peer in ["peers-1", "peers-2"] {
            let tail = ["tail", "--raw", "--count", count, "--from", "earliest", "--timeout", "60s"];
            let said = network.cli(peer, &tail)?.ok()?;
            assert!(said.out == all, "{} bytes at {peer} are not the same", said.out.len());
        }
    }
    let mut sent = Sent::default();
    for peer in network.endpoints()? {
        let value = |series: &str| metric(&peer.admin, series).context(series.to_owned());
        sent.plain += value("sorcha_peer_frames_sent_body_bytes_total{form=\"plain\"}")?;
        sent.carried += value("sorcha_peer_frames_sent_body_bytes_total{form=\"carried\"}")?;
        sent.frames += value("sorcha_peer_frames_sent_bytes_total{class=\"push\"}")?;
        sent.frames += value("sorcha_peer_frames_sent_bytes_total{class=\"bulk\"}")?;
    }
    Ok(sent)
}

#[test]
#[expect(clippy::print_stdout, reason = "figures, for those who ask")]
fn bodies_that_pack_well_take_fewer_bytes_on_the_wire_and_are_read_as_they_were() -> anyhow::Result<()> {
    let packed = run("lz4")?;
    let plain = run("none")?;
    println!("lz4: {packed:?}, none: {plain:?}");
    assert_eq!(plain.plain, plain.carried, "without packing everything is carried as it is");
    assert!(plain.frames > plain.plain && plain.plain >= 2 * (LONG + SHORT) as u64, "{plain:?}");
    assert!(packed.plain >= 2 * (LONG + SHORT) as u64, "{packed:?}");
    assert!(packed.carried * 2 < packed.plain, "{packed:?}");
    assert!(packed.frames * 2 < plain.frames, "{packed:?}, {plain:?}");
    Ok(())
}

#[test]
fn a_peer_that_packs_and_one_that_does_not_understand_each_other() -> anyhow::Result<()> {
    let packs = Solo::prepare("packs")?;
    let plain = packs.beside("plain")?;
    plain.configure(&format!(
        "links: {{compression: none}}\nbootstrap: {{addresses: ['{}']}}\n",
        packs.peer_address()
    ))?;
    let (_one, _other) = (packs.start()?, plain.start()?);
    let mut all = Vec::new();
    for (count, from, to, bytes) in
        [("1", &packs, &plain, LONG), ("2", &plain, &packs, LONG - 1), ("3", &packs, &plain, SHORT)]
    {
        let body = ledger(bytes);
        let file = from.path().join("body.json");
        std::fs::write(&file, &body)?;
        from.cli(&["submit", file.to_str().context("a UTF-8 path")?])?.ok()?;
        all.extend(body);
        let tail = ["tail", "--raw", "--count", count, "--from", "earliest", "--timeout", "60s"];
        let said = to.cli(&tail)?.ok()?;
        assert!(said.out == all, "{} bytes came, not the same", said.out.len());
    }
    for peer in [&packs, &plain] {
        let series = |form| format!("sorcha_peer_frames_sent_body_bytes_total{{form=\"{form}\"}}");
        let value = |form| metric(&peer.admin(), &series(form));
        assert!(value("plain") >= Some(LONG as u64 - 1), "{:?}", value("plain"));
        assert_eq!(value("plain"), value("carried"));
    }
    Ok(())
}
