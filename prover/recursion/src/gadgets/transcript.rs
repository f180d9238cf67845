//! The Fiat-Shamir transcript: the duplex sponge of `p3-challenger` over cells.

use p3_field::PrimeCharacteristicRing;
use zisk_prover::stark::config::{Challenge, Val};

use super::Digest;
use crate::builder::{Bit, Builder, Cell};

/// Elements absorbed or squeezed at a time.
const RATE: usize = 8;

/// A base-field element.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    /// A coefficient of a cell.
    Coefficient(Cell, usize),
    /// A cell of the base field (which absorbing it states).
    Base(Cell),
}

/// The transcript.
pub struct Transcript {
    state: [Cell; 4],
    absorbed: Vec<Element>,
    squeezed: Vec<Element>,
}

/// The four elements as a cell.
fn join(b: &mut Builder, elements: &[Element]) -> Cell {
    if let Element::Coefficient(cell, 0) = elements[0]
        && elements.iter().enumerate().all(|(i, &element)| element == Element::Coefficient(cell, i))
    {
        return cell;
    }
    let zero = b.zero();
    if elements.iter().all(|&element| element == Element::Base(zero)) {
        return zero;
    }
    let parts = std::array::from_fn(|i| part(b, elements[i]));
    b.join(parts)
}

fn part(b: &mut Builder, element: Element) -> Cell {
    match element {
        Element::Coefficient(cell, i) => b.split(cell)[i],
        Element::Base(cell) => cell,
    }
}

impl Transcript {
    /// An empty one.
    pub fn new(b: &mut Builder) -> Self {
        Self { state: [b.zero(); 4], absorbed: Vec::new(), squeezed: Vec::new() }
    }

    fn duplex(&mut self, b: &mut Builder) {
        let count = self.absorbed.len();
        if count > 0 {
            let zero = b.zero();
            self.absorbed.resize(RATE, Element::Base(zero));
            for (cell, elements) in self.state.iter_mut().zip(self.absorbed.chunks_exact(4)) {
                *cell = join(b, elements);
            }
            self.state[2] = b.affine(self.state[2], Val::ONE, Challenge::from_usize(count));
            self.absorbed.clear();
        }
        self.state = b.permute(self.state);
        let [first, second, ..] = self.state;
        self.squeezed = [first, second].into_iter().flat_map(|cell| (0..4).map(move |i| Element::Coefficient(cell, i))).collect();
    }

    fn push(&mut self, b: &mut Builder, element: Element) {
        self.squeezed.clear();
        self.absorbed.push(element);
        if self.absorbed.len() == RATE {
            self.duplex(b);
        }
    }

    fn pop(&mut self, b: &mut Builder) -> Element {
        if !self.absorbed.is_empty() || self.squeezed.is_empty() {
            self.duplex(b);
        }
        self.squeezed.pop().expect("a duplex squeezes eight elements")
    }

    /// Absorbs a base-field element.
    pub fn observe_base(&mut self, b: &mut Builder, cell: Cell) {
        self.push(b, Element::Base(cell));
    }

    /// Absorbs an element of the extension field.
    pub fn observe(&mut self, b: &mut Builder, cell: Cell) {
        (0..4).for_each(|i| self.push(b, Element::Coefficient(cell, i)));
    }

    /// Absorbs a commitment.
    pub fn observe_digest(&mut self, b: &mut Builder, digest: Digest) {
        digest.into_iter().for_each(|cell| self.observe(b, cell));
    }

    /// Draws an element of the extension field.
    pub fn sample(&mut self, b: &mut Builder) -> Cell {
        let elements: [Element; 4] = std::array::from_fn(|_| self.pop(b));
        join(b, &elements)
    }

    /// Draws bits, least significant first.
    pub fn sample_bits(&mut self, b: &mut Builder, count: usize) -> Vec<Bit> {
        let element = self.pop(b);
        let value = part(b, element);
        b.bits(value)[..count].to_vec()
    }

    /// Checks a proof of work.
    pub fn check_witness(&mut self, b: &mut Builder, bits: usize, witness: Cell) {
        if bits == 0 {
            return;
        }
        self.observe_base(b, witness);
        let zero = b.zero();
        for bit in self.sample_bits(b, bits) {
            b.connect(bit.cell(), zero);
        }
    }
}
