//! Builds the program table: rows of guest instructions, chains of hidden rows shared where equal, and routines with
//! labels.

use std::collections::{BTreeMap, HashMap};

use crate::memory_map::{FIRST_HIDDEN_PC, SINK};
use crate::program::{Advice, NoRow, Op, Row, Src2};
use crate::routines::Routine;

/// A row that has no place yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft {
    op: Op,
    rd: u8,
    rs1: u8,
    src2: Src2,
    offset: i32,
    alt_pc: u32,
    advice: Option<Advice>,
}

impl Draft {
    /// An operation that writes `rd`; x0 becomes the sink.
    pub(crate) fn new(op: Op, rd: u8, rs1: u8, src2: Src2) -> Self {
        let rd = if rd == 0 { SINK } else { rd };
        Self { op, rd, rs1, src2, offset: 0, alt_pc: 0, advice: None }
    }

    /// A load; `alt_pc` is where it goes when misaligned.
    pub(crate) fn load(op: Op, rd: u8, base: u8, offset: i32, alt_pc: u32) -> Self {
        Self { alt_pc, ..Self::new(op, rd, base, Src2::Imm(i64::from(offset))) }
    }

    /// A store of register `value`.
    pub(crate) fn store(op: Op, base: u8, value: u8, offset: i32, alt_pc: u32) -> Self {
        Self { op, rd: 0, rs1: base, src2: Src2::Reg(value), offset, alt_pc, advice: None }
    }

    /// A conditional branch to `alt_pc`.
    pub(crate) fn branch(op: Op, rs1: u8, src2: Src2, alt_pc: u32) -> Self {
        Self { op, rd: 0, rs1, src2, offset: 0, alt_pc, advice: None }
    }

    fn place(self, pc: u32, next_pc: u32) -> Row {
        let Self { op, rd, rs1, src2, offset, alt_pc, advice } = self;
        Row { pc, op, rd, rs1, src2, offset, next_pc, alt_pc, advice }
    }
}

/// The program table while it is built.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Row>,
    no_rows: BTreeMap<u32, NoRow>,
    next_hidden: u32,
    /// Hidden rows of chains, with pc 0, to the pc where they are.
    shared: HashMap<Row, u32>,
    checks: HashMap<&'static str, u32>,
    routines: HashMap<Routine, u32>,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self {
            rows: Vec::new(),
            no_rows: BTreeMap::new(),
            next_hidden: FIRST_HIDDEN_PC,
            shared: HashMap::new(),
            checks: HashMap::new(),
            routines: HashMap::new(),
        }
    }

    /// The table sorted by pc, and the reasons for missing rows.
    pub(crate) fn finish(mut self) -> (Vec<Row>, BTreeMap<u32, NoRow>) {
        self.rows.sort_unstable_by_key(|row| row.pc);
        (self.rows, self.no_rows)
    }

    /// Places a guest instruction: its first row at `pc`, the others hidden, then on to `end`.
    pub(crate) fn guest(&mut self, pc: u32, drafts: &[Draft], end: u32) {
        if let Some((first, rest)) = drafts.split_first() {
            let next = self.chain(rest, end);
            self.rows.push(first.place(pc, next));
        }
    }

    /// Hidden rows that end at `end`. Rows that are equal in all but their place are shared, so chains with the same tail
    /// share it.
    pub(crate) fn chain(&mut self, drafts: &[Draft], end: u32) -> u32 {
        drafts.iter().rev().fold(end, |next_pc, draft| {
            let row = draft.place(0, next_pc);
            if let Some(&pc) = self.shared.get(&row) {
                return pc;
            }
            let pc = self.allocate(1);
            self.shared.insert(row, pc);
            self.rows.push(Row { pc, ..row });
            pc
        })
    }

    /// A pc without a row, for checks to fail at.
    pub(crate) fn check(&mut self, meaning: &'static str) -> u32 {
        if let Some(&pc) = self.checks.get(meaning) {
            return pc;
        }
        let pc = self.allocate(1);
        self.checks.insert(meaning, pc);
        self.no_rows.insert(pc, NoRow::Check(meaning.into()));
        pc
    }

    /// Notes why a guest pc has no row.
    pub(crate) fn no_row(&mut self, pc: u32, reason: NoRow) {
        self.no_rows.insert(pc, reason);
    }

    /// Entry of a routine, which is built when first asked for.
    pub(crate) fn routine(&mut self, routine: Routine) -> u32 {
        if let Some(&pc) = self.routines.get(&routine) {
            return pc;
        }
        let pc = routine.build(self);
        self.routines.insert(routine, pc);
        pc
    }

    fn allocate(&mut self, rows: u32) -> u32 {
        let pc = self.next_hidden;
        self.next_hidden += 2 * rows;
        pc
    }
}

/// A place in a routine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label(usize);

/// Where a row goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Label(Label),
    Pc(u32),
}

impl From<Label> for Target {
    fn from(label: Label) -> Self {
        Self::Label(label)
    }
}

impl From<u32> for Target {
    fn from(pc: u32) -> Self {
        Self::Pc(pc)
    }
}

struct Item {
    draft: Draft,
    /// Jump target of a branch, or where a misaligned access goes; unused when None.
    alt: Option<Target>,
    /// The following row when None.
    next: Option<Target>,
}

/// Writes a routine: rows in sequence, with labels.
pub(crate) struct Assembler<'a> {
    table: &'a mut Table,
    items: Vec<Item>,
    /// Index of the item a label stands before; `usize::MAX` until bound.
    labels: Vec<usize>,
}

impl<'a> Assembler<'a> {
    pub(crate) fn new(table: &'a mut Table) -> Self {
        Self { table, items: Vec::new(), labels: Vec::new() }
    }

    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    pub(crate) fn bind(&mut self, label: Label) {
        self.labels[label.0] = self.items.len();
    }

    /// A new label, bound here.
    pub(crate) fn here(&mut self) -> Label {
        let label = self.label();
        self.bind(label);
        label
    }

    /// rd = rs1 op register.
    pub(crate) fn reg(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8) {
        self.push(Draft::new(op, rd, rs1, Src2::Reg(rs2)), None);
    }

    /// rd = rs1 op constant.
    pub(crate) fn imm(&mut self, op: Op, rd: u8, rs1: u8, value: i64) {
        self.push(Draft::new(op, rd, rs1, Src2::Imm(value)), None);
    }

    /// rd = a value of the prover's choice.
    pub(crate) fn advice(&mut self, advice: Advice, rd: u8, rs1: u8, rs2: u8) {
        let draft = Draft { advice: Some(advice), ..Draft::new(Op::Advice, rd, rs1, Src2::Reg(rs2)) };
        self.push(draft, None);
    }

    /// A load that is known to be aligned, of any width; a prover that claims it is not ends at a check.
    pub(crate) fn load(&mut self, op: Op, rd: u8, base: u8, offset: i32) {
        let alt = self.misaligned(op);
        self.push(Draft::load(op, rd, base, offset, 0), alt);
    }

    /// A store, likewise.
    pub(crate) fn store(&mut self, op: Op, base: u8, value: u8, offset: i32) {
        let alt = self.misaligned(op);
        self.push(Draft::store(op, base, value, offset, 0), alt);
    }

    fn misaligned(&mut self, op: Op) -> Option<Target> {
        let bytes = matches!(op, Op::Lb | Op::Lbu | Op::Sb);
        (!bytes).then(|| Target::Pc(self.table.check("a ziskos call with an address that is not aligned")))
    }

    pub(crate) fn branch(&mut self, op: Op, rs1: u8, src2: Src2, target: impl Into<Target>) {
        self.push(Draft::branch(op, rs1, src2, 0), Some(target.into()));
    }

    /// Goes elsewhere: the row before does so, unless there is none or a label stands between.
    pub(crate) fn goto(&mut self, target: impl Into<Target>) {
        if self.items.is_empty() || self.labels.contains(&self.items.len()) {
            self.imm(Op::Add, SINK, 0, 0);
        }
        if let Some(last) = self.items.last_mut() {
            last.next = Some(target.into());
        }
    }

    /// Fails with a check unless rs1 op src2 is false.
    pub(crate) fn refuse_if(&mut self, op: Op, rs1: u8, src2: Src2, meaning: &'static str) {
        let check = self.table.check(meaning);
        self.branch(op, rs1, src2, check);
    }

    fn push(&mut self, draft: Draft, alt: Option<Target>) {
        self.items.push(Item { draft, alt, next: None });
    }

    /// Places the rows and returns the pc of the first. The last row must not run on: a `Return` or `goto`.
    pub(crate) fn finish(self) -> u32 {
        let Self { table, items, labels } = self;
        let base = table.allocate(items.len() as u32 + 1);
        let pc = |index: usize| base + 2 * index as u32;
        let resolve = |target: Target| match target {
            Target::Pc(pc) => pc,
            Target::Label(label) => pc(labels[label.0]),
        };
        for (index, item) in items.into_iter().enumerate() {
            let next = item.next.map_or(pc(index + 1), resolve);
            let alt_pc = item.alt.map_or(0, resolve);
            table.rows.push(Draft { alt_pc, ..item.draft }.place(pc(index), next));
        }
        base
    }
}
