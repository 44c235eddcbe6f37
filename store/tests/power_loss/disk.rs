//! A disk that forgets: what is on it after a power loss, if only what was synced is sure to be.
//!
//! The model is POSIX without favours. A file's bytes are sure once the file was synced, an entry of a folder (made,
//! removed or renamed) once the folder was; neither sync does the other's work. Of the rest anything may have arrived:
//! of every [`SECTOR`] of a file any of its states since the sync, of the file's lengths any, of a folder's changes any
//! subset. Only one rename is one step.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What a disk writes whole.
pub(crate) const SECTOR: usize = 512;

/// A file or folder, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(pub(crate) u32);

/// The folder that everything is in.
pub(crate) const FOLDER: NodeId = NodeId(0);

/// One change, or one promise.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Link { dir: NodeId, name: String, node: NodeId, folder: bool },
    Unlink { dir: NodeId, name: String },
    Rename { dir: NodeId, from: String, to: String },
    Write { node: NodeId, offset: u64, data: Arc<[u8]> },
    SetLength { node: NodeId, length: u64 },
    Sync { node: NodeId },
    Acknowledged { number: u64, version: u64 },
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<String, NodeId>),
}

/// What a disk holds.
#[derive(Debug, Clone)]
pub(crate) struct Disk(BTreeMap<NodeId, Node>);

impl Default for Disk {
    fn default() -> Disk {
        Disk(BTreeMap::from([(FOLDER, Node::Folder(BTreeMap::new()))]))
    }
}

impl Disk {
    /// What a folder holds.
    pub(crate) fn read(root: &Path) -> Disk {
        let mut disk = Disk::default();
        disk.read_folder(root, FOLDER);
        disk
    }

    fn read_folder(&mut self, path: &Path, dir: NodeId) {
        let mut names: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect();
        names.sort_by_key(fs::DirEntry::file_name);
        for entry in names {
            let (node, folder) = (self.next(), entry.file_type().unwrap().is_dir());
            let name = entry.file_name().into_string().unwrap();
            self.apply(&Op::Link { dir, name, node, folder });
            if folder {
                self.read_folder(&entry.path(), node);
            } else {
                self.0.insert(node, Node::File(fs::read(entry.path()).unwrap()));
            }
        }
    }

    /// Makes a folder hold exactly this.
    pub(crate) fn write(&self, root: &Path) {
        self.write_folder(root, FOLDER);
    }

    fn write_folder(&self, path: &Path, dir: NodeId) {
        fs::create_dir_all(path).unwrap();
        for (name, node) in self.folder(dir) {
            match &self.0[node] {
                Node::Folder(_) => self.write_folder(&path.join(name), *node),
                Node::File(bytes) => {
                    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    let mut file = fs::File::create(path.join(name)).unwrap();
                    file.write_all(&bytes[..end]).unwrap();
                    file.set_len(bytes.len() as u64).unwrap();
                }
            }
        }
    }

    pub(crate) fn same_as(&self, other: &Disk) -> bool {
        self.same_node(FOLDER, other, FOLDER)
    }

    fn same_node(&self, a: NodeId, other: &Disk, b: NodeId) -> bool {
        match (&self.0[&a], &other.0[&b]) {
            (Node::File(a), Node::File(b)) => a == b,
            (Node::Folder(a), Node::Folder(b)) => {
                a.len() == b.len()
                    && a.iter().zip(b).all(|((x, a), (y, b))| x == y && self.same_node(*a, other, *b))
            }
            _ => false,
        }
    }

    fn folder(&self, dir: NodeId) -> &BTreeMap<String, NodeId> {
        match &self.0[&dir] {
            Node::Folder(entries) => entries,
            Node::File(_) => panic!("a file has no entries"),
        }
    }

    /// A number that no node has.
    pub(crate) fn next(&self) -> NodeId {
        NodeId(self.0.last_key_value().map_or(0, |(id, _)| id.0 + 1))
    }

    pub(crate) fn find(&self, below: &Path) -> Option<NodeId> {
        below.iter().try_fold(FOLDER, |dir, name| match self.0.get(&dir)? {
            Node::Folder(entries) => entries.get(name.to_str()?).copied(),
            Node::File(_) => None,
        })
    }

    /// The folder and the name in it.
    pub(crate) fn entry(&self, below: &Path) -> Option<(NodeId, String)> {
        let dir = self.find(below.parent()?)?;
        Some((dir, below.file_name()?.to_str()?.to_owned()))
    }

    pub(crate) fn length(&self, node: NodeId) -> usize {
        match &self.0[&node] {
            Node::File(bytes) => bytes.len(),
            Node::Folder(_) => 0,
        }
    }

    /// A node's place, for people.
    pub(crate) fn path_of(&self, node: NodeId) -> String {
        self.search(FOLDER, node).unwrap_or_else(|| format!("(nameless {})", node.0))
    }

    fn search(&self, dir: NodeId, node: NodeId) -> Option<String> {
        self.folder(dir).iter().find_map(|(name, id)| match &self.0[id] {
            _ if *id == node => Some(name.clone()),
            Node::Folder(_) => Some(format!("{name}/{}", self.search(*id, node)?)),
            Node::File(_) => None,
        })
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Link { dir, name, node, folder } => {
                self.make(*node, *folder);
                self.entries(*dir).insert(name.clone(), *node);
            }
            Op::Unlink { dir, name } => {
                self.entries(*dir).remove(name);
            }
            Op::Rename { dir, from, to } => {
                let entries = self.entries(*dir);
                if let Some(node) = entries.remove(from) {
                    entries.insert(to.clone(), node);
                }
            }
            Op::Write { node, offset, data } => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                let bytes = self.bytes(*node);
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(data);
            }
            Op::SetLength { node, length } => self.bytes(*node).resize(*length as usize, 0),
            Op::Sync { .. } | Op::Acknowledged { .. } => {}
        }
    }

    fn make(&mut self, node: NodeId, folder: bool) {
        let empty = if folder { Node::Folder(BTreeMap::new()) } else { Node::File(Vec::new()) };
        self.0.entry(node).or_insert(empty);
    }

    fn bytes(&mut self, node: NodeId) -> &mut Vec<u8> {
        match self.0.get_mut(&node) {
            Some(Node::File(bytes)) => bytes,
            other => panic!("not a file: {other:?}"),
        }
    }

    fn entries(&mut self, node: NodeId) -> &mut BTreeMap<String, NodeId> {
        match self.0.get_mut(&node) {
            Some(Node::Folder(entries)) => entries,
            other => panic!("not a folder: {other:?}"),
        }
    }
}

/// A disk on its way through a record: what is sure, and what is not.
#[derive(Debug, Clone)]
pub(crate) struct Unsure {
    sure: Disk,
    pending: BTreeMap<NodeId, Vec<Op>>,
}

/// How likely what was not synced has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Luck {
    pub(crate) data: f64,
    pub(crate) entries: f64,
}

impl Unsure {
    pub(crate) fn new(sure: Disk) -> Unsure {
        Unsure { sure, pending: BTreeMap::new() }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        match op {
            Op::Link { dir, .. } | Op::Unlink { dir, .. } | Op::Rename { dir, .. } => {
                if let Op::Link { node, folder, .. } = op {
                    self.sure.make(*node, *folder);
                }
                // A rename has to know its node even if the link before it never arrived.
                self.pending.entry(*dir).or_default().push(op.clone());
            }
            Op::Write { node, .. } | Op::SetLength { node, .. } => {
                self.pending.entry(*node).or_default().push(op.clone());
            }
            Op::Sync { node } => {
                for op in self.pending.remove(node).unwrap_or_default() {
                    self.sure.apply(&op);
                }
            }
            Op::Acknowledged { .. } => {}
        }
    }

    /// The disk after a power loss now, and what became of what was not synced.
    pub(crate) fn lose_power(&self, luck: Luck, rng: &mut ChaCha8Rng) -> (Disk, String) {
        let (mut disk, mut story) = (self.sure.clone(), String::new());
        for (node, ops) in &self.pending {
            match &self.sure.0[node] {
                Node::File(bytes) => {
                    let (after, kept, all) = torn(bytes, ops, luck.data, rng);
                    let path = self.everything().path_of(*node);
                    writeln!(story, "  {path}: {kept} of {all} sectors, {} bytes long", after.len()).unwrap();
                    disk.0.insert(*node, Node::File(after));
                }
                Node::Folder(entries) => {
                    let after = shuffled(entries, ops, luck.entries, rng, &mut story);
                    disk.0.insert(*node, Node::Folder(after));
                }
            }
        }
        (disk, story)
    }

    fn everything(&self) -> Disk {
        let mut disk = self.sure.clone();
        self.pending.values().flatten().for_each(|op| disk.apply(op));
        disk
    }
}

/// A file of which each sector stopped at any of its states.
fn torn(sure: &[u8], ops: &[Op], luck: f64, rng: &mut ChaCha8Rng) -> (Vec<u8>, usize, usize) {
    let mut states: BTreeMap<usize, Vec<[u8; SECTOR]>> = BTreeMap::new();
    let mut lengths = vec![sure.len()];
    let mut now = sure.to_vec();
    for op in ops {
        match op {
            Op::Write { offset, data, .. } => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                now.resize(now.len().max(to), 0);
                now[from..to].copy_from_slice(data);
                for sector in from / SECTOR..to.div_ceil(SECTOR) {
                    states
                        .entry(sector)
                        .or_insert_with(|| vec![sector_of(sure, sector)])
                        .push(sector_of(&now, sector));
                }
            }
            Op::SetLength { length, .. } => now.resize(*length as usize, 0),
            _ => unreachable!("not of a file"),
        }
        lengths.push(now.len());
    }
    let length = if rng.random_bool(luck) { now.len() } else { lengths[rng.random_range(0..lengths.len())] };
    let mut file = sure.to_vec();
    file.resize(length, 0);
    let (mut kept, all) = (0, states.len());
    for (sector, states) in states {
        let last = states.len() - 1;
        let state = if rng.random_bool(luck) { last } else { rng.random_range(0..last) };
        kept += usize::from(state == last);
        let from = (sector * SECTOR).min(length);
        let to = (from + SECTOR).min(length);
        file[from..to].copy_from_slice(&states[state][..to - from]);
    }
    (file, kept, all)
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut out = [0; SECTOR];
    let from = (sector * SECTOR).min(bytes.len());
    let to = (from + SECTOR).min(bytes.len());
    out[..to - from].copy_from_slice(&bytes[from..to]);
    out
}

/// A folder to which any of its changes came. A rename needs no earlier one: it carries the file itself.
fn shuffled(
    sure: &BTreeMap<String, NodeId>,
    ops: &[Op],
    luck: f64,
    rng: &mut ChaCha8Rng,
    story: &mut String,
) -> BTreeMap<String, NodeId> {
    let (mut live, mut after) = (sure.clone(), sure.clone());
    for op in ops {
        let kept = rng.random_bool(luck);
        let what = if kept { "kept" } else { "lost" };
        match op {
            Op::Link { name, node, .. } => {
                live.insert(name.clone(), *node);
                if kept {
                    after.insert(name.clone(), *node);
                }
                writeln!(story, "  {what}: made {name}").unwrap();
            }
            Op::Unlink { name, .. } => {
                live.remove(name);
                if kept {
                    after.remove(name);
                }
                writeln!(story, "  {what}: removed {name}").unwrap();
            }
            Op::Rename { from, to, .. } => {
                let node = live.remove(from).expect("it was there to be renamed");
                live.insert(to.clone(), node);
                if kept {
                    after.remove(from);
                    after.insert(to.clone(), node);
                }
                writeln!(story, "  {what}: renamed {from} to {to}").unwrap();
            }
            _ => unreachable!("not of a folder"),
        }
    }
    after
}
