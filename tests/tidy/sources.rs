//! The sources as they are parsed: which file names which, without what only tests see.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, Token, UseTree};

/// A module's absolute name: the crate's, then the modules' down to it.
pub(crate) type Module = Vec<String>;

/// One arrow: a file names something that another file has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrow {
    pub(crate) from: Module,
    pub(crate) to: Module,
}

/// A parsed file.
#[derive(Debug)]
struct Parsed {
    path: PathBuf,
    /// Absolute names that it uses, as they are written.
    names: BTreeSet<Module>,
    /// What it hands on: the name here, and what it stands for.
    exports: BTreeMap<String, Module>,
    /// Modules of which it hands on everything.
    globs: Vec<Module>,
    /// Types that it makes.
    types: BTreeSet<String>,
}

/// All files of some crates.
#[derive(Debug, Default)]
pub(crate) struct Sources(BTreeMap<Module, Parsed>);

/// Every `.rs` file below a folder with its text, by its path below it.
pub(crate) fn texts(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.insert(path.strip_prefix(folder).expect("below").to_owned(), text);
            }
        }
    }
    files
}

/// `a/b/mod.rs` and `a/b.rs` are the module `a::b`.
fn module_of(krate: &str, path: &Path) -> Module {
    let parts = path.with_extension("");
    let parts = parts.iter().map(|part| part.to_string_lossy().into_owned());
    let rest = parts.filter(|part| !["mod", "lib"].contains(&part.as_str()));
    std::iter::once(krate.to_owned()).chain(rest).collect()
}

impl Sources {
    /// Reads a crate's files; those that only tests see are left out.
    pub(crate) fn add(&mut self, krate: &str, files: &BTreeMap<PathBuf, String>) {
        let mut hidden = BTreeSet::new();
        for (path, text) in files {
            let module = module_of(krate, path);
            let file = syn::parse_file(text).unwrap_or_else(|error| {
                panic!("{} is no Rust: {error}", path.display());
            });
            let mut reader = Reader::new(&module);
            reader.visit_file(&file);
            hidden.extend(reader.hidden);
            let (names, exports) = (reader.names, reader.exports);
            let (globs, types) = (reader.globs, reader.types);
            self.0.insert(module, Parsed { path: path.clone(), names, exports, globs, types });
        }
        self.0.retain(|module, _| !(1..=module.len()).any(|end| hidden.contains(&module[..end])));
    }

    /// The path below its crate's folder.
    pub(crate) fn path(&self, module: &Module) -> &Path {
        &self.0[module].path
    }

    /// Every type's name, with the file that makes it.
    pub(crate) fn types(&self) -> impl Iterator<Item = (&str, &Module)> {
        self.0.iter().flat_map(|(module, parsed)| {
            parsed.types.iter().map(move |name| (name.as_str(), module))
        })
    }

    /// What each file names of others', to the file that makes it.
    pub(crate) fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (from, parsed) in &self.0 {
            for name in &parsed.names {
                if let Some(to) = self.home(name, 0)
                    && to != *from
                {
                    arrows.insert(Arrow { from: from.clone(), to });
                }
            }
        }
        arrows
    }

    /// The file that makes what this name stands for, through what others hand on.
    fn home(&self, name: &[String], depth: usize) -> Option<Module> {
        let end = (1..=name.len()).rev().find(|end| self.0.contains_key(&name[..*end]))?;
        let (module, rest) = name.split_at(end);
        let parsed = &self.0[module];
        let Some(first) = rest.first().filter(|_| depth < 8) else { return Some(module.to_vec()) };
        if let Some(target) = parsed.exports.get(first) {
            let whole: Module = target.iter().chain(&rest[1..]).cloned().collect();
            return self.home(&whole, depth + 1).or_else(|| Some(module.to_vec()));
        }
        let through = parsed.globs.iter().filter(|glob| self.0.contains_key(*glob)).find(|glob| {
            let there = &self.0[*glob];
            there.types.contains(first) || there.exports.contains_key(first)
        });
        Some(through.cloned().unwrap_or_else(|| module.to_vec()))
    }

    /// Files that name each other, directly or round about.
    pub(crate) fn circles(&self) -> Vec<Vec<Module>> {
        let mut graph = petgraph::graphmap::DiGraphMap::<&Module, ()>::new();
        let arrows = self.arrows();
        for arrow in &arrows {
            graph.add_edge(&arrow.from, &arrow.to, ());
        }
        petgraph::algo::tarjan_scc(&graph)
            .into_iter()
            .filter(|circle| circle.len() > 1)
            .map(|mut circle| {
                circle.sort();
                circle.into_iter().cloned().collect()
            })
            .collect()
    }
}

/// Collects what a file names.
struct Reader<'a> {
    module: &'a Module,
    names: BTreeSet<Module>,
    exports: BTreeMap<String, Module>,
    globs: Vec<Module>,
    types: BTreeSet<String>,
    /// Child modules that only tests see.
    hidden: BTreeSet<Module>,
    /// Inline modules that the visit is in.
    inside: Vec<String>,
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list().ok().filter(|list| list.path.is_ident("cfg"));
        list.is_some_and(|list| {
            let text = list.tokens.to_string();
            text == "test" || text.contains("\"testing\"")
        })
    })
}

impl<'a> Reader<'a> {
    fn new(module: &'a Module) -> Self {
        let (exports, inside) = (BTreeMap::new(), Vec::new());
        let (names, globs, types) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
        Self { module, names, exports, globs, types, hidden: BTreeSet::new(), inside }
    }

    /// A path's absolute name, where it starts at a crate or relative to this module.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let here = || self.module.iter().chain(&self.inside).cloned().collect::<Module>();
        let (first, mut rest) = path.split_first()?;
        let mut start = match first.as_str() {
            "crate" => vec![self.module[0].clone()],
            "self" => here(),
            "super" => {
                let mut start = here();
                start.pop();
                start
            }
            krate if super::CRATES.iter().any(|(name, _)| *name == krate) => vec![krate.to_owned()],
            _ => return None,
        };
        while let Some((next, after)) = rest.split_first().filter(|(next, _)| *next == "super") {
            debug_assert_eq!(next, "super");
            start.pop();
            rest = after;
        }
        start.extend_from_slice(rest);
        Some(start)
    }

    fn note(&mut self, path: &[String]) {
        let name = self.absolute(path);
        self.names.extend(name);
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => colons += 1,
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.note(&std::mem::take(&mut path));
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Group(group) => {
                    self.note(&std::mem::take(&mut path));
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.note(&std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.note(&path);
    }

    fn used(&mut self, tree: &UseTree, before: &[String], handed_on: bool) {
        let with = |name: &syn::Ident| {
            let mut path = before.to_vec();
            if name != "self" || before.is_empty() {
                path.push(name.to_string());
            }
            path
        };
        let (path, known) = match tree {
            UseTree::Path(part) => {
                let path = with(&part.ident);
                return self.used(&part.tree, &path, handed_on);
            }
            UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.used(tree, before, handed_on));
            }
            UseTree::Glob(_) => (before.to_vec(), None),
            UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            UseTree::Rename(both) => (with(&both.ident), Some(both.rename.to_string())),
        };
        // In the 2024 edition a child module is named without `self`.
        let relative = || [&["self".to_owned()], path.as_slice()].concat();
        let absolute = self
            .absolute(&path)
            .or_else(|| handed_on.then(|| self.absolute(&relative())).flatten());
        match (absolute, known) {
            (Some(name), Some(known)) if handed_on => drop(self.exports.insert(known, name)),
            (Some(name), None) if handed_on => self.globs.push(name),
            (Some(name), _) => drop(self.names.insert(name)),
            (None, _) => {}
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_file(&mut self, file: &'ast File) {
        file.items.iter().for_each(|item| self.visit_item(item));
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if is_for_tests(&module.attrs) => {
                let name = self.module.iter().chain(&self.inside).cloned();
                self.hidden.insert(name.chain([module.ident.to_string()]).collect());
            }
            Item::Mod(module) => {
                self.inside.push(module.ident.to_string());
                visit::visit_item_mod(self, module);
                self.inside.pop();
            }
            Item::Use(used) if !is_for_tests(&used.attrs) => {
                let handed_on = !matches!(used.vis, syn::Visibility::Inherited);
                self.used(&used.tree, &[], handed_on);
            }
            Item::Fn(function) if is_for_tests(&function.attrs) => {}
            Item::Impl(of) if is_for_tests(&of.attrs) => {}
            other => {
                let made = match other {
                    Item::Struct(made) => Some(&made.ident),
                    Item::Enum(made) => Some(&made.ident),
                    Item::Trait(made) => Some(&made.ident),
                    Item::Type(made) => Some(&made.ident),
                    Item::Const(made) => Some(&made.ident),
                    Item::Fn(made) => Some(&made.sig.ident),
                    _ => None,
                };
                self.types.extend(made.map(ToString::to_string));
                visit::visit_item(self, other);
            }
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1 {
            self.note(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        self.tokens(of.tokens.clone());
        // Most of them take expressions, in which paths stand with generics.
        let parser = Punctuated::<syn::Expr, Token![,]>::parse_terminated;
        if let Ok(list) = of.parse_body_with(parser) {
            list.iter().for_each(|expression| visit::visit_expr(self, expression));
        }
    }
}
