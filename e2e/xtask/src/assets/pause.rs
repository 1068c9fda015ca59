//! What holds the namespaces of a pod on a test node: waits for ever. Knows nothing else. Built on its own, as a static
//! program (`sets.rs`); it is no part of xtask.

fn main() {
    loop {
        std::thread::park();
    }
}
