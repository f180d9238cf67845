//! Memory of an execution: pages that exist once touched, each word with the tag of the segment that touched it last.

use crate::input::InputImage;
use crate::memory_map::{INPUT_END, INPUT_START, OUTPUT_START, OUTPUT_WORDS, RAM_END, RAM_START, ROM_END, ROM_START};
use crate::program::{Op, Program};
use crate::segment::{LedgerEntry, Word};
use crate::semantics::{extract, insert};

/// Words of a page: 32 KiB of guest memory.
const PAGE_WORDS: usize = 1 << 12;
/// Pages of the 32-bit address space.
const PAGES: usize = 1 << 17;
const FIRST_OUTPUT_WORD: u32 = OUTPUT_START / 8;

#[derive(Clone, Copy, Default)]
struct Slot {
    value: u64,
    /// Tag of the last segment that touched the word; 0 if none did.
    tag: u32,
}

type Page = [Slot; PAGE_WORDS];

/// The address is outside the map, or (for stores) not writable.
pub(crate) struct OutsideMap;

pub(crate) struct Memory<'a> {
    pages: Vec<Option<Box<Page>>>,
    program: &'a Program,
    input: InputImage<'a>,
    /// Tag of the running segment.
    tag: u32,
    /// Words the running segment touched, in order of first touch; empty if they are not wanted.
    touched: Vec<Word>,
    record: bool,
}

impl<'a> Memory<'a> {
    /// Memory at the start; `record` is whether touched words are kept per segment.
    pub(crate) fn new(program: &'a Program, input: InputImage<'a>, record: bool) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(PAGES, || None);
        let mut this = Self { pages, program, input, tag: 1, touched: Vec::new(), record };
        // The ledger holds these whether touched or not.
        for &(word, _) in &program.image {
            this.page(word);
        }
        this.page(FIRST_OUTPUT_WORD);
        this
    }

    /// The value a load gives.
    #[inline(always)]
    pub(crate) fn load(&mut self, op: Op, address: u64) -> Result<u64, OutsideMap> {
        let word = match self.pages.get((address >> 15) as usize) {
            Some(Some(page)) if page[at(address)].tag == self.tag => page[at(address)].value,
            _ => self.touch(address)?.value,
        };
        Ok(extract(op, word, address))
    }

    /// Stores a value.
    #[inline(always)]
    pub(crate) fn store(&mut self, op: Op, address: u64, value: u64) -> Result<(), OutsideMap> {
        if address < u64::from(RAM_START) {
            return Err(OutsideMap);
        }
        let tag = self.tag;
        let slot = match self.pages.get_mut((address >> 15) as usize) {
            Some(Some(page)) if page[at(address)].tag == tag => &mut page[at(address)],
            _ => self.touch(address)?,
        };
        slot.value = insert(op, slot.value, address, value);
        Ok(())
    }

    /// The word that holds an address, or zero. Touches nothing.
    pub(crate) fn peek(&self, address: u32) -> u64 {
        match &self.pages[address as usize >> 15] {
            Some(page) => page[at(address.into())].value,
            None => 0,
        }
    }

    /// Starts the next segment; gives the words that the one before touched, sorted.
    pub(crate) fn next_segment(&mut self) -> Vec<Word> {
        self.tag += 1;
        let mut words = std::mem::take(&mut self.touched);
        self.touched.reserve(words.len());
        words.sort_unstable_by_key(|word| word.word);
        words
    }

    /// Entries of the ledger for memory: all words that were touched, are part of the image or hold outputs.
    pub(crate) fn ledger(&self) -> impl Iterator<Item = LedgerEntry> {
        let mut image = self.program.image.iter().copied().peekable();
        let pages = self.pages.iter().enumerate().filter_map(|(index, page)| Some((index, page.as_ref()?)));
        let slots = pages
            .flat_map(|(index, page)| page.iter().enumerate().map(move |(at, slot)| ((index * PAGE_WORDS + at) as u32, slot)));
        slots.filter_map(move |(word, slot)| {
            let in_image = image.next_if(|(image_word, _)| *image_word == word);
            let output = (FIRST_OUTPUT_WORD..FIRST_OUTPUT_WORD + OUTPUT_WORDS as u32).contains(&word);
            if slot.tag == 0 && in_image.is_none() && !output {
                return None;
            }
            let initial = in_image.map_or_else(|| self.input.word(word), |(_, value)| value);
            Some(LedgerEntry { word, initial, last: slot.value, last_tag: slot.tag, image: in_image.is_some() })
        })
    }

    #[cold]
    #[inline(never)]
    fn touch(&mut self, address: u64) -> Result<&mut Slot, OutsideMap> {
        let word = (address >> 3) as u32;
        let within = |start: u32, end: u32| (u64::from(start)..u64::from(end)).contains(&address);
        let mapped = within(RAM_START, RAM_END)
            || within(INPUT_START, INPUT_END)
            || within(ROM_START, ROM_END)
                && self.program.image.binary_search_by_key(&word, |&(image_word, _)| image_word).is_ok();
        if !mapped {
            return Err(OutsideMap);
        }
        let (tag, record) = (self.tag, self.record);
        self.page(word);
        let Some(Some(page)) = self.pages.get_mut((address >> 15) as usize) else {
            return Err(OutsideMap);
        };
        let slot = &mut page[at(address)];
        if record && slot.tag != tag {
            self.touched.push(Word { word, value: slot.value, last_tag: slot.tag });
        }
        slot.tag = tag;
        Ok(slot)
    }

    /// Makes the page that holds a word, with what it holds at the start.
    fn page(&mut self, word: u32) {
        let index = word as usize / PAGE_WORDS;
        if self.pages[index].is_some() {
            return;
        }
        let mut page = Box::new([Slot::default(); PAGE_WORDS]);
        let first = (index * PAGE_WORDS) as u32;
        let image = &self.program.image;
        let from = image.partition_point(|&(word, _)| word < first);
        for &(word, value) in image[from..].iter().take_while(|(word, _)| *word < first + PAGE_WORDS as u32) {
            page[(word - first) as usize].value = value;
        }
        if (INPUT_START / 8..INPUT_END / 8).contains(&first) {
            for (slot, word) in page.iter_mut().zip(first..) {
                slot.value = self.input.word(word);
            }
        }
        self.pages[index] = Some(page);
    }
}

#[inline(always)]
const fn at(address: u64) -> usize {
    (address >> 3) as usize % PAGE_WORDS
}
