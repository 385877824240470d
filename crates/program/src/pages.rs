//! What shells and `man` know of a program beside `skep`.

use std::io::{self, Write as _};
use std::path::Path;

use clap_complete::Shell;
use clap_mangen::Man;
use skep_core::base::{Exit, Failure};

use crate::screen::Screen;
use crate::usage::Program;

/// For bash, where two words are one program: what completes the first one is asked for the rest.
const TWO_WORDS: &str = r#"

_@FUNCTION@_as_words() {
    if [[ ${COMP_CWORD} -gt 1 && ${COMP_WORDS[1]} == @WORD@ ]]; then
        local words=(@WHOLE@ "${COMP_WORDS[@]:2}")
        COMP_WORDS=("${words[@]}")
        COMP_CWORD=$((COMP_CWORD - 1))
        _@FUNCTION@ @WHOLE@ "$2" "$3"
    elif declare -F _@FIRST@ >/dev/null; then
        _@FIRST@ "$@"
    fi
}
complete -F _@FUNCTION@_as_words -o bashdefault -o default @FIRST@
"#;

/// Prints completions for a shell: of the program's own name, and in bash of its two words too.
///
/// # Errors
/// Standard output.
pub fn completion<P: Program>(screen: &mut Screen, shell: Shell) -> Result<(), Failure> {
    let whole = P::command().get_name().to_owned();
    // What is generated for bash takes a dash in the first word for two words.
    let plain = if shell == Shell::Bash { whole.replace('-', "_") } else { whole.clone() };
    let mut command = P::command().bin_name(plain.clone());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &plain, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        script = script.replace(&format!(" default {plain}\n"), &format!(" default {whole}\n"));
        if let Some((first, word)) = P::TYPED.split_once(' ') {
            let own = TWO_WORDS.replace("@FUNCTION@", &plain).replace("@WHOLE@", &whole);
            script.push_str(&own.replace("@FIRST@", first).replace("@WORD@", word));
        }
    }
    screen.data(script.trim_end())
}

/// Writes a page for the program and for each of its commands into a folder that is there.
///
/// # Errors
/// A page can't be written.
pub fn man<P: Program>(screen: &mut Screen, folder: &Path) -> Result<(), Failure> {
    let told = man_pages(P::command(), P::TYPED, folder)?;
    screen.say(&told);
    Ok(())
}

/// Writes a page for a command that is typed so, and for each of those below it, into a folder
/// that is there. Answers how many there are, as it is told.
///
/// # Errors
/// A page can't be written.
pub fn man_pages(command: clap::Command, typed: &str, folder: &Path) -> Result<String, Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    render(&command, typed, &mut pages).map_err(|error| cannot(folder, &error))?;
    for (name, page) in &pages {
        let path = folder.join(name);
        // A page is made anew at will: it needs no sync.
        let made = std::fs::File::create(&path).and_then(|mut file| file.write_all(page));
        made.map_err(|error| cannot(&path, &error))?;
    }
    Ok(format!("{} pages in {}", pages.len(), folder.display()))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Refused, format!("{}: {error}", path.display()))
        .hint("name a folder that you may write to, such as /usr/local/share/man/man1")
}

/// The page of a command, then those of its subcommands.
fn render(
    command: &clap::Command,
    name: &str,
    into: &mut Vec<(String, Vec<u8>)>,
) -> io::Result<()> {
    let file = name.replace(' ', "-");
    let man = Man::new(command.clone()).title(file.to_uppercase());
    let mut page = Vec::new();
    man.render(&mut page)?;
    into.push((format!("{file}.1"), page));
    for sub in command.get_subcommands() {
        render(sub, &format!("{name} {}", sub.get_name()), into)?;
    }
    Ok(())
}
