//! Bytes that come in parts of any size, cut as they are stored.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Bytes per chunk: half of the server's default limit on a message.
pub(super) const CHUNK: usize = 512 * 1024;

/// Parts of any size on their way to chunks.
#[derive(Default)]
pub(super) struct Chunks {
    parts: VecDeque<Bytes>,
    held: usize,
}

impl Chunks {
    pub(super) fn add(&mut self, part: Bytes) {
        self.held += part.len();
        self.parts.push_back(part);
    }

    /// The next whole chunk; at the end what there is. What is one part already is not copied.
    pub(super) fn next(&mut self, is_last: bool) -> Option<Bytes> {
        let length = self.held.min(CHUNK);
        if length == 0 || (length < CHUNK && !is_last) {
            return None;
        }
        let mut chunk = BytesMut::new();
        while chunk.len() < length {
            let mut part = self.parts.pop_front()?;
            let piece = part.split_to(part.len().min(length - chunk.len()));
            if !part.is_empty() {
                self.parts.push_front(part);
            }
            self.held -= piece.len();
            if piece.len() == length {
                return Some(piece);
            }
            chunk.extend_from_slice(&piece);
        }
        Some(chunk.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sizes of the chunks that parts of these sizes make.
    fn chunked(parts: &[usize]) -> Vec<usize> {
        let (mut chunks, mut sizes) = (Chunks::default(), Vec::new());
        for part in parts {
            chunks.add(Bytes::from(vec![0; *part]));
            sizes.extend(std::iter::from_fn(|| chunks.next(false)).map(|chunk| chunk.len()));
        }
        sizes.extend(std::iter::from_fn(|| chunks.next(true)).map(|chunk| chunk.len()));
        sizes
    }

    #[test]
    fn parts_of_any_size_become_whole_chunks_and_a_rest() {
        assert_eq!(chunked(&[]), [0; 0]);
        assert_eq!(chunked(&[0]), [0; 0]);
        assert_eq!(chunked(&[1, 0, 2]), [3]);
        assert_eq!(chunked(&[CHUNK]), [CHUNK]);
        assert_eq!(chunked(&[2 * CHUNK + 1]), [CHUNK, CHUNK, 1]);
        assert_eq!(chunked(&[CHUNK - 1, 2, CHUNK]), [CHUNK, CHUNK, 1]);
    }
}
