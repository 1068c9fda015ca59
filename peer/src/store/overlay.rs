//! A file read through, with all writes kept in memory: a check may repair what it looks at and yet change nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// Unit of what is kept.
const BLOCK_BYTES: u64 = 4096;
/// Bytes kept at most; a write beyond fails. A repair writes far less (guess).
const KEPT_BYTES_MAX: u64 = 256 * 1024 * 1024;

#[derive(Debug)]
struct State {
    length: u64,
    /// Where the file's own bytes end; beyond it there are zeros.
    file_end: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

/// The file and what would have been written to it.
#[derive(Debug)]
pub(super) struct Overlay {
    file: File,
    state: Mutex<State>,
}

impl Overlay {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let state = State { length, file_end: length, blocks: BTreeMap::new() };
        Ok(Self { file, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_file(&self, state: &State, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = state.file_end.saturating_sub(offset).min(out.len() as u64) as usize;
        let (there, beyond) = out.split_at_mut(there);
        beyond.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

/// The blocks that `length` bytes at `offset` touch: (index, start in the block, length).
fn blocks(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = offset + length as u64;
    (offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).map(move |index| {
        let begin = offset.max(index * BLOCK_BYTES);
        let until = end.min((index + 1) * BLOCK_BYTES);
        (index, (begin - index * BLOCK_BYTES) as usize, (until - begin) as usize)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        if offset + out.len() as u64 > state.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (index, start, length) in blocks(offset, rest.len()) {
            let (part, after) = rest.split_at_mut(length);
            match state.blocks.get(&index) {
                Some(block) => part.copy_from_slice(&block[start..start + length]),
                None => self.read_file(&state, index * BLOCK_BYTES + start as u64, part)?,
            }
            rest = after;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        if length < state.length {
            let whole = length.div_ceil(BLOCK_BYTES);
            state.blocks.split_off(&whole);
            let rest = (length % BLOCK_BYTES) as usize;
            if let Some(block) = state.blocks.get_mut(&(length / BLOCK_BYTES)) {
                block[rest..].fill(0);
            }
            state.file_end = state.file_end.min(length);
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        let mut rest = data;
        for (index, start, length) in blocks(offset, data.len()) {
            let (part, after) = rest.split_at(length);
            if !state.blocks.contains_key(&index) {
                if state.blocks.len() as u64 >= KEPT_BYTES_MAX / BLOCK_BYTES {
                    return Err(io::Error::other("the repair writes more than a check keeps in memory"));
                }
                let mut block = vec![0; BLOCK_BYTES as usize];
                self.read_file(&state, index * BLOCK_BYTES, &mut block)?;
                state.blocks.insert(index, block);
            }
            let block = state.blocks.get_mut(&index).expect("just put there");
            block[start..start + length].copy_from_slice(part);
            rest = after;
        }
        state.length = state.length.max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_read_back_and_the_file_keeps_its_bytes() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), vec![7; 10_000]).expect("written");
        let overlay = Overlay::new(file.reopen().expect("readable")).expect("an overlay");
        overlay.write(4000, &[1; 200]).expect("kept");
        overlay.set_len(9000).expect("shorter");
        overlay.set_len(12_000).expect("longer");
        let mut all = vec![9; 12_000];
        overlay.read(0, &mut all).expect("readable");
        let mut expected = vec![7; 10_000];
        expected[4000..4200].fill(1);
        expected.truncate(9000);
        expected.resize(12_000, 0);
        assert!(all == expected);
        assert!(overlay.read(11_999, &mut [0; 2]).is_err());
        assert_eq!(std::fs::read(file.path()).expect("readable"), vec![7; 10_000]);
    }
}
