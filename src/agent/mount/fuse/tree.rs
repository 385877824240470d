//! Names, owners, modes and links: what a file system is, without its bytes and without
//! the kernel.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::content::Content;
use skep_core::base::{ServiceId, Stamp};

/// The number of the first folder.
pub(super) const ROOT: u64 = 1;

/// Why a change of the tree is refused; the kernel knows each by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeError {
    NotFound,
    NotAFolder,
    IsAFolder,
    Exists,
    NotEmpty,
    BadName,
}

/// A file, folder or link.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permissions alone.
    pub(super) mode: u32,
    /// When its bytes, or a folder's entries, did.
    pub(super) modified: Stamp,
    /// When anything of it changed.
    pub(super) changed: Stamp,
    /// Whose: everything below the service's folder.
    pub(super) service: Option<ServiceId>,
    parent: u64,
    /// It has a name.
    pub(super) linked: bool,
    /// How often the kernel was told its number, less what it forgot.
    told: AtomicU64,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum NodeKind {
    Folder(BTreeMap<String, u64>),
    Link(String),
    File(Arc<Content>),
}

impl NodeKind {
    /// A folder without entries.
    pub(super) const fn folder() -> Self {
        Self::Folder(BTreeMap::new())
    }
}

/// How a new node begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) now: Stamp,
}

/// Everything that is shown.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

impl Tree {
    /// An empty folder, root's alone.
    pub(super) fn new(now: Stamp) -> Self {
        let root = Node {
            kind: NodeKind::folder(),
            uid: 0,
            gid: 0,
            mode: 0o700,
            modified: now,
            changed: now,
            service: None,
            parent: ROOT,
            linked: true,
            told: AtomicU64::new(0),
        };
        Self { nodes: HashMap::from([(ROOT, root)]), next: ROOT.saturating_add(1) }
    }

    pub(super) fn get(&self, number: u64) -> Result<&Node, TreeError> {
        self.nodes.get(&number).ok_or(TreeError::NotFound)
    }

    fn entries(&self, folder: u64) -> Result<&BTreeMap<String, u64>, TreeError> {
        match &self.get(folder)?.kind {
            NodeKind::Folder(entries) => Ok(entries),
            NodeKind::Link(_) | NodeKind::File(_) => Err(TreeError::NotAFolder),
        }
    }

    fn entries_mut(
        &mut self,
        folder: u64,
        now: Stamp,
    ) -> Result<&mut BTreeMap<String, u64>, TreeError> {
        let node = self.nodes.get_mut(&folder).ok_or(TreeError::NotFound)?;
        match &mut node.kind {
            NodeKind::Folder(entries) => {
                node.modified = now;
                node.changed = now;
                Ok(entries)
            }
            NodeKind::Link(_) | NodeKind::File(_) => Err(TreeError::NotAFolder),
        }
    }

    /// The node of this name in a folder.
    pub(super) fn child(&self, folder: u64, name: &str) -> Result<u64, TreeError> {
        self.entries(folder)?.get(name).copied().ok_or(TreeError::NotFound)
    }

    /// The node at a path of names, links not followed.
    pub(super) fn at<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<u64, TreeError> {
        let mut here = ROOT;
        for name in names {
            here = self.child(here, name)?;
        }
        Ok(here)
    }

    /// A folder's entries in their order, itself and its parent first.
    pub(super) fn list(&self, folder: u64) -> Result<Vec<(&str, u64, &NodeKind)>, TreeError> {
        let node = self.get(folder)?;
        let mut all = vec![(".", folder, &node.kind)];
        all.push(("..", node.parent, &node.kind));
        for (name, number) in self.entries(folder)? {
            all.push((name, *number, &self.get(*number)?.kind));
        }
        Ok(all)
    }

    /// The number that the next node gets.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Makes a node; a name that is there is refused.
    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &str,
        kind: NodeKind,
        begin: Begin,
    ) -> Result<u64, TreeError> {
        if name.is_empty() || name.contains('/') || name == "." || name == ".." {
            return Err(TreeError::BadName);
        }
        if self.entries(folder)?.contains_key(name) {
            return Err(TreeError::Exists);
        }
        let of_parent = self.get(folder)?.service;
        let service = of_parent.or_else(|| name.parse().ok().filter(|_| folder == ROOT));
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.entries_mut(folder, begin.now)?.insert(name.to_owned(), number);
        let node = Node {
            kind,
            uid: begin.uid,
            gid: begin.gid,
            mode: begin.mode & 0o7777,
            modified: begin.now,
            changed: begin.now,
            service,
            parent: folder,
            linked: true,
            told: AtomicU64::new(0),
        };
        self.nodes.insert(number, node);
        Ok(number)
    }

    /// Removes the name of a file or link.
    pub(super) fn unlink(&mut self, folder: u64, name: &str, now: Stamp) -> Result<(), TreeError> {
        let number = self.child(folder, name)?;
        if matches!(self.get(number)?.kind, NodeKind::Folder(_)) {
            return Err(TreeError::IsAFolder);
        }
        self.drop_name(folder, name, now)
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(
        &mut self,
        folder: u64,
        name: &str,
        now: Stamp,
    ) -> Result<(), TreeError> {
        let number = self.child(folder, name)?;
        if !self.entries(number)?.is_empty() {
            return Err(TreeError::NotEmpty);
        }
        self.drop_name(folder, name, now)
    }

    fn drop_name(&mut self, folder: u64, name: &str, now: Stamp) -> Result<(), TreeError> {
        let number = self.entries_mut(folder, now)?.remove(name).ok_or(TreeError::NotFound)?;
        if let Some(node) = self.nodes.get_mut(&number) {
            node.linked = false;
        }
        self.drop_if_unknown(number);
        Ok(())
    }

    /// Gives a node another name; what had that name goes, unless it is a folder.
    pub(super) fn rename(
        &mut self,
        (folder, name): (u64, &str),
        (to_folder, to_name): (u64, &str),
        now: Stamp,
    ) -> Result<(), TreeError> {
        let number = self.child(folder, name)?;
        if to_name.is_empty() || to_name.contains('/') {
            return Err(TreeError::BadName);
        }
        match self.child(to_folder, to_name) {
            Ok(there) if there == number => return Ok(()),
            Ok(there) => match self.get(there)?.kind {
                NodeKind::Folder(_) => return Err(TreeError::Exists),
                NodeKind::Link(_) | NodeKind::File(_) => self.drop_name(to_folder, to_name, now)?,
            },
            Err(TreeError::NotFound) => {}
            Err(error) => return Err(error),
        }
        self.entries_mut(folder, now)?.remove(name);
        self.entries_mut(to_folder, now)?.insert(to_name.to_owned(), number);
        if let Some(node) = self.nodes.get_mut(&number) {
            node.parent = to_folder;
        }
        Ok(())
    }

    /// Sets what is given.
    pub(super) fn change(
        &mut self,
        number: u64,
        (mode, uid, gid): (Option<u32>, Option<u32>, Option<u32>),
        modified: Option<Stamp>,
        now: Stamp,
    ) -> Result<(), TreeError> {
        let node = self.nodes.get_mut(&number).ok_or(TreeError::NotFound)?;
        node.mode = mode.map_or(node.mode, |mode| mode & 0o7777);
        node.uid = uid.unwrap_or(node.uid);
        node.gid = gid.unwrap_or(node.gid);
        node.modified = modified.unwrap_or(node.modified);
        node.changed = now;
        Ok(())
    }

    /// The kernel is told a node's number.
    pub(super) fn tell(&self, number: u64) -> Result<&Node, TreeError> {
        let node = self.get(number)?;
        node.told.fetch_add(1, Ordering::Relaxed);
        Ok(node)
    }

    /// The kernel forgets a number, `count` times.
    pub(super) fn forget(&mut self, number: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            let told = node.told.get_mut();
            *told = told.saturating_sub(count);
            self.drop_if_unknown(number);
        }
    }

    /// Another kernel mount begins: nothing was told yet.
    pub(super) fn forget_all(&mut self) {
        for node in self.nodes.values_mut() {
            *node.told.get_mut() = 0;
        }
        self.nodes.retain(|_, node| node.linked);
    }

    /// A node without a name lives as long as the kernel may ask for it.
    fn drop_if_unknown(&mut self, number: u64) {
        let unknown = |node: &mut Node| !node.linked && *node.told.get_mut() == 0;
        if self.nodes.get_mut(&number).is_some_and(unknown) {
            self.nodes.remove(&number);
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Stamp = Stamp(1);
    const BEGIN: Begin = Begin { uid: 0, gid: 0, mode: 0o755, now: NOW };

    fn link(to: &str) -> NodeKind {
        NodeKind::Link(to.to_owned())
    }

    #[test]
    fn names_are_found_moved_and_gone() {
        let mut tree = Tree::new(NOW);
        let service = ServiceId::from_bytes([7; 16]);
        let top = tree.make(ROOT, &service.to_string(), NodeKind::folder(), BEGIN).unwrap();
        let live = tree.make(top, "live", NodeKind::folder(), BEGIN).unwrap();
        let old = tree.make(top, "old", NodeKind::folder(), BEGIN).unwrap();
        let one = tree.make(live, "..1", NodeKind::folder(), BEGIN).unwrap();
        tree.make(one, "a", NodeKind::File(Arc::new(Content::new(9))), BEGIN).unwrap();
        assert_eq!(tree.get(one).unwrap().service, Some(service));
        assert_eq!(tree.make(live, "..1", NodeKind::folder(), BEGIN), Err(TreeError::Exists));
        assert_eq!(tree.make(live, "a/b", link("x"), BEGIN), Err(TreeError::BadName));
        assert_eq!(tree.remove_folder(live, "..1", NOW), Err(TreeError::NotEmpty));
        assert_eq!(tree.unlink(live, "..1", NOW), Err(TreeError::IsAFolder));
        tree.rename((live, "..1"), (old, "1"), NOW).unwrap();
        let path = [&service.to_string(), "old", "1", "a"].map(ToOwned::to_owned);
        let file = tree.at(path.iter().map(String::as_str)).unwrap();
        assert_eq!(tree.list(one).unwrap()[1].1, old);
        assert_eq!(tree.child(file, "x"), Err(TreeError::NotAFolder));
        tree.unlink(one, "a", NOW).unwrap();
        assert_eq!(tree.get(file).err(), Some(TreeError::NotFound));
        tree.remove_folder(old, "1", NOW).unwrap();
        assert_eq!(tree.count(), 4);
    }

    #[test]
    fn a_flip_replaces_a_link_and_the_kernel_may_still_ask_for_the_old_one() {
        let mut tree = Tree::new(NOW);
        let first = tree.make(ROOT, "..data", link("..1"), BEGIN).unwrap();
        tree.tell(first).unwrap();
        tree.tell(first).unwrap();
        let second = tree.make(ROOT, "data.new", link("..2"), BEGIN).unwrap();
        tree.rename((ROOT, "data.new"), (ROOT, "..data"), NOW).unwrap();
        assert_eq!(tree.child(ROOT, "..data"), Ok(second));
        assert!(!tree.get(first).unwrap().linked);
        tree.forget(first, 1);
        assert!(tree.get(first).is_ok());
        tree.forget(first, 1);
        assert_eq!(tree.get(first).err(), Some(TreeError::NotFound));
        // A folder is never replaced.
        tree.make(ROOT, "folder", NodeKind::folder(), BEGIN).unwrap();
        let refused = tree.rename((ROOT, "..data"), (ROOT, "folder"), NOW);
        assert_eq!(refused, Err(TreeError::Exists));
    }

    #[test]
    fn another_mount_knows_nothing() {
        let mut tree = Tree::new(NOW);
        let gone = tree.make(ROOT, "a", link("b"), BEGIN).unwrap();
        tree.tell(gone).unwrap();
        tree.unlink(ROOT, "a", NOW).unwrap();
        assert_eq!(tree.count(), 2);
        tree.forget_all();
        assert_eq!(tree.count(), 1);
    }
}
