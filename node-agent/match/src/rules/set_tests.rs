use super::tests::pack_of;
use super::*;

/// A rule of Codex that finds one word.
fn rule(id: &str, word: &str) -> String {
    format!(
        "[[rule]]\nid = \"{id}\"\nevent = \"error.api\"\nagent = \"codex\"\nregion = \"transcript\"\nliterals = [\"{word}\"]\npattern = '■ {word}'\nrearm = \"turn\"\n[[rule.example]]\ntext = \"■ {word}\"\n"
    )
}

fn pack(name: &str, header: &str, rules: &[String]) -> Pack {
    pack_of(name, &format!("schema = \"wa.pack/1\"\n{header}\n{}", rules.concat()))
}

fn shadow(pack: Pack) -> Pack {
    Pack { shadow: true, ..pack }
}

/// Pack and id of every rule in force.
fn ids(engine: &Engine) -> Vec<(String, String)> {
    engine.rules().map(|rule| (rule.pack.to_owned(), rule.id.to_owned())).collect()
}

fn own(engine: &Engine) -> Vec<String> {
    let builtin: Vec<String> = Engine::builtin_packs().into_iter().map(|pack| pack.name).collect();
    ids(engine).into_iter().filter(|(pack, _)| !builtin.contains(pack)).map(|(_, id)| id).collect()
}

fn refusal(packs: &[Pack]) -> String {
    Engine::with_packs(packs).err().unwrap().to_string()
}

#[test]
fn a_pack_of_the_same_name_takes_the_place() {
    let mine = pack("shell", "version = \"7\"", &[rule("mine.one", "alpha")]);
    let other = pack("extra", "", &[rule("extra.one", "beta")]);
    let engine = Engine::with_packs(&[other.clone(), mine.clone()]).unwrap();
    let names: Vec<&str> = engine.packs().iter().map(|pack| pack.name.as_str()).collect();
    let builtin: Vec<String> = Engine::builtin_packs().into_iter().map(|pack| pack.name).collect();
    assert_eq!(names[..builtin.len()], builtin, "the order stays");
    assert_eq!(names[builtin.len()..], ["extra"]);
    let shell = engine.packs().iter().find(|pack| pack.name == "shell").unwrap();
    assert_eq!((shell.version.as_str(), shell.origin, shell.rules), ("7", Origin::Pushed, 1));
    assert!(ids(&engine).contains(&("shell".into(), "mine.one".into())));
    // Of two in the list the later one runs; what is replaced need not even hold.
    let broken = pack_of("extra", "no toml at all");
    assert_eq!(own(&Engine::with_packs(&[broken, other]).unwrap()), ["extra.one"]);
}

#[test]
fn what_a_pack_is_called_and_sums_to() {
    let engine = Engine::with_packs(&[]).unwrap();
    assert!(engine.packs().iter().all(|pack| pack.origin == Origin::Builtin && pack.rules > 0));
    assert_eq!(engine.packs().iter().map(|pack| pack.rules).sum::<usize>(), engine.rules().count());
    assert!(engine.rules().all(|rule| rule.examples > 0 && rule.line > 0));
    let empty = Engine::with_packs(&[pack_of("empty", "schema = \"wa.pack/1\"")]).unwrap();
    let info = empty.packs().last().unwrap();
    // As `printf 'schema = "wa.pack/1"' | sha256sum` says.
    assert_eq!(info.hash, "9988caa3e40232d09363e5abbbce46a2d1cc3989dd17f75b08d0e2f4d9a63b10");
    let text = Engine::builtin_packs()[0].text.clone();
    for (rule, line) in engine.rules().take(5).map(|rule| (rule.id, rule.line)) {
        assert_eq!(text.lines().nth(line - 1).unwrap(), format!("id = {rule:?}"));
    }
}

#[test]
fn rules_of_other_packs_are_switched_off() {
    let one = pack("one", "", &[rule("a", "alpha"), rule("b", "beta")]);
    let two = pack("two", "disable = [\"a\"]", &[rule("a", "gamma")]);
    for set in [[one.clone(), two.clone()], [two, one.clone()]] {
        let engine = Engine::with_packs(&set).unwrap();
        let mut own = own(&engine);
        own.sort();
        assert_eq!(own, ["a", "b"]);
        assert_eq!(engine.rules().find(|rule| rule.id == "a").unwrap().pack, "two");
    }
    let builtin = Engine::builtin().rules().next().unwrap().id;
    let off = pack("off", &format!("disable = [{builtin:?}]"), &[]);
    assert!(Engine::with_packs(&[off]).unwrap().rules().all(|rule| rule.id != builtin));
    assert!(Engine::builtin().rules().any(|rule| rule.id == builtin));
}

#[test]
fn what_does_not_fit_together_is_refused_whole() {
    let one = || pack("one", "", &[rule("a", "alpha")]);
    let cases: [(Vec<Pack>, &str); 9] = [
        (
            vec![one(), pack("two", "", &[rule("a", "beta")])],
            "pack two, line 4: rule a: pack one has a rule of this id",
        ),
        (
            vec![pack("one", "", &[rule("a", "alpha"), rule("a", "beta")])],
            "pack one, line 14: rule a: the id occurs twice",
        ),
        (
            vec![one(), pack("two", "disable = [\"b\"]", &[])],
            "pack two, line 2: disable: no other pack has a rule \"b\"",
        ),
        (
            vec![pack("two", "\ndisable = [\"a\"]", &[rule("a", "x1y2")])],
            "pack two, line 3: disable: no other pack",
        ),
        (vec![pack("a b", "", &[])], "the packs together: pack \"a b\": the name of a pack is 1 to 64"),
        (vec![pack("one", "", &[rule("a\\nb", "alpha")])], "pack one, line 4: rule a\\nb: an id is 1 to 64"),
        (vec![pack("one", "version = \"1\\n2\"", &[])], "pack one, line 2: version: it is longer"),
        ((0..65).map(|at| pack(&format!("p{at}"), "", &[])).collect(), "packs; 64 are the most"),
        (
            vec![shadow(one()), shadow(pack("two", "", &[rule("a", "beta")]))],
            "pack two, line 4: rule a: pack one has",
        ),
    ];
    for (set, wanted) in cases {
        let said = refusal(&set);
        assert!(said.contains(wanted), "{said}\nnot: {wanted}");
    }
}

#[test]
fn mistakes_name_their_line() {
    let good = rule("t.one", "alpha");
    let cases = [
        ("schema = \"wa.pack/1\"\n\nschema = \"wa.pack/1\"\n".to_owned(), "pack t, line 3: the file: "),
        (format!("schema = \"wa.pack/1\"\n{good}\n[[rule]\n"), "pack t, line 13: the file: "),
        (format!("version = \"1\"\nschema = \"wa.pack/2\"\n{good}"), "pack t, line 2: schema: "),
        (
            format!("schema = \"wa.pack/1\"\n{}", good.replace("transcript", "top")),
            "pack t, line 6: rule[0].region: ",
        ),
        (format!("schema = \"wa.pack/1\"\ndisabled = []\n{good}"), "pack t, line 2: disabled: unknown field"),
        (
            format!("schema = \"wa.pack/1\"\n{}", good.replace("pattern = '■", "pattern = '(■")),
            "pack t, line 3: rule t.one: pattern: ",
        ),
        (
            format!(
                "schema = \"wa.pack/1\"\n{good}{}",
                rule("t.two", "beta").replace("text = \"■", "text = \"")
            ),
            "pack t, line 13: rule t.two: example 1 does not match",
        ),
    ];
    for (text, wanted) in cases {
        let said = refusal(&[pack_of("t", &text)]);
        assert!(said.starts_with(wanted), "{said}\nnot: {wanted}\n{text}");
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let many: Vec<String> = (0..1001).map(|at| rule(&format!("r{at}"), "alpha")).collect();
    let long = rule("a", "alpha").replace("■ alpha'", &format!("■ {}'", "a".repeat(4100)));
    let cases = [
        (
            pack_of("t", &format!("# {}\nschema = \"wa.pack/1\"", "x".repeat(1 << 20))),
            "larger than 1048576 bytes",
        ),
        (pack("t", "", &many), "1000 are the most"),
        (pack("t", "", &[long]), "rule a: a pattern is longer than 4096 bytes"),
        (pack("t", "", &[rule("a", "alpha").replace("rearm", "hold = 4000000\nrearm")]), "hold and cooldown"),
        (
            pack("t", "", &[rule("a", "alpha").replace("rearm", "columns = [3, 1]\nrearm")]),
            "columns: the first",
        ),
    ];
    for (pack, wanted) in cases {
        let said = refusal(&[pack]);
        assert!(said.contains(wanted), "{said}\nnot: {wanted}");
    }
}

/// Patterns that take exponential time elsewhere: refused for their size, or done in no time.
#[test]
fn patterns_cannot_be_catastrophic() {
    let hostile = [
        r"■ alpha(a+)+$",
        r"■ alpha(?:a|aa)+$",
        r"■ alpha(?:a|a?)+$",
        r"■ alpha(.*)*x(.*)*y(.*)*z",
        r"■ alpha(?:[a-z]{1,100}){1,100}",
        r"■ alpha(?:\w+\s?)*$",
        r"■ alpha((((a*)*)*)*)*b",
        r"■ alpha\p{L}{500}\p{L}{500}",
    ];
    let frame = wa_proto::Frame::from_text(4000, &format!("■ alpha{}!", "a".repeat(30_000)));
    let kind = wa_proto::AgentKind::codex();
    let foreground = crate::Foreground::Agent { kind, version: String::new(), pid: 1 };
    let facts = crate::Facts { foreground, ..crate::Facts::default() };
    for pattern in hostile {
        let text = rule("a", "alpha").replace("'■ alpha'", &format!("'{pattern}|■ alpha'"));
        let begun = std::time::Instant::now();
        match Engine::with_packs(&[pack("t", "", &[text])]) {
            Ok(engine) => {
                let seen = crate::scan(&engine, &frame, &facts, jiff::Timestamp::UNIX_EPOCH);
                assert!(seen.events.len() < 3);
            }
            Err(error) => assert!(error.to_string().contains("size limit"), "{pattern}: {error}"),
        }
        assert!(begun.elapsed().as_secs() < 10, "{pattern}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_pack_in_shadow_leaves_the_others_as_they_are() {
    let builtin = Engine::builtin_packs().swap_remove(0);
    let first = Engine::builtin().rules().next().unwrap().id;
    let tried = shadow(pack(&builtin.name, &format!("disable = [{first:?}]"), &[rule(first, "alpha")]));
    let engine = Engine::with_packs(&[tried]).unwrap();
    let live = |engine: &Engine| -> Vec<(String, String)> {
        engine.rules().filter(|rule| !rule.shadow).map(|rule| (rule.pack.into(), rule.id.into())).collect()
    };
    assert_eq!(live(&engine), live(Engine::builtin()));
    let shadowed: Vec<_> = engine.rules().filter(|rule| rule.shadow).collect();
    assert_eq!(shadowed.len(), 1);
    assert_eq!((shadowed[0].id, shadowed[0].pack), (first, builtin.name.as_str()));
    assert!(engine.packs().last().unwrap().shadow);
}

#[test]
fn a_revision_names_a_set() {
    let (one, two) = (pack("one", "", &[]), pack("two", "", &[]));
    assert_eq!(revision(&[]), "");
    let both = revision(&[one.clone(), two.clone()]);
    assert_eq!(both.len(), 64);
    assert_eq!(both, revision(&[two.clone(), one.clone()]), "the order does not matter");
    let local = Pack { origin: Origin::Local, ..two.clone() };
    assert_eq!(both, revision(&[one.clone(), local]), "nor who brought it");
    let others = [
        revision(std::slice::from_ref(&one)),
        revision(&[one.clone(), shadow(two.clone())]),
        revision(&[one.clone(), Pack { text: two.text.clone() + "\n", ..two.clone() }]),
        revision(&[one, Pack { name: "three".into(), ..two }]),
    ];
    assert!(!others.contains(&both));
    assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), others.len());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn no_text_does_harm(text in "(?s).{0,200}", at in 0_usize..200_000, cut in 0_usize..40, which in 0_usize..4) {
        let refused = |text: String| {
            let error = Engine::from_packs(&[pack_of("t", &text)]).err();
            error.is_none_or(|error| error.to_string().starts_with("pack t"))
        };
        proptest::prop_assert!(refused(text.clone()));
        // A pack with a piece cut out and another put in.
        let mut pack = Engine::builtin_packs().swap_remove(which).text;
        let start = pack.floor_char_boundary(at % pack.len());
        let end = pack.floor_char_boundary(start + cut).max(start);
        pack.replace_range(start..end, &text);
        proptest::prop_assert!(refused(pack));
    }
}

/// Whoever pushes it waits, and so does everybody who pushes after it.
#[test]
fn a_pack_of_nothing_but_rules_is_refused_soon() {
    let start = std::time::Instant::now();
    let endless = format!("schema = \"wa.pack/1\"\n{}", "[[rule]]\n".repeat(100_000));
    let reason = refusal(&[pack_of("endless", &endless)]);
    assert!(reason.contains("pack endless") && reason.contains("rule"), "{reason}");
    assert!(start.elapsed() < std::time::Duration::from_secs(20), "{:?}", start.elapsed());
}

/// A rule that reads all there is, with one thing changed.
fn everywhere(from: &str, to: &str) -> Pack {
    let good = "[[rule]]\nid = \"t.all\"\nevent = \"error.api\"\nagent = \"codex\"\nregion = \"tail\"\non = [\"frame\", \"line\", \"record\"]\ncolumns = [0, 0]\nliterals = [\"no upstream\"]\npattern = '■ no upstream'\nrearm = \"turn\"\n[[rule.example]]\ntext = \"■ no upstream\"\n";
    assert!(good.contains(from), "{from}");
    pack("t", "", &[good.replace(from, to)])
}

#[test]
fn rules_for_lines_and_records_must_say_where_they_begin() {
    let engine = Engine::with_packs(&[everywhere("", "")]).unwrap();
    let rule = engine.rules().find(|rule| rule.id == "t.all").unwrap();
    assert_eq!(rule.on, Surface::ALL);
    let of_frames = engine.rules().find(|rule| rule.region == "dialog").unwrap();
    assert_eq!(of_frames.on, [Surface::Frame]);
    let cases = [
        (
            "on = [\"frame\", \"line\", \"record\"]",
            "on = []",
            "line 4: rule t.all: on: name frame, line and record",
        ),
        ("\"line\", \"record\"", "\"frame\"", "at most once each"),
        ("\"line\"", "\"page\"", "rule[0].on[1]: unknown variant"),
        ("\"tail\"", "\"transcript\"", "on = [\"line\"]: the region must be tail"),
        ("\"tail\"", "\"footer\"", "on = [\"line\"]: the region must be tail"),
        ("columns = [0, 0]\n", "", "write columns = [0, 0]"),
        ("[0, 0]", "[1, 3]", "write columns = [0, 0]"),
        ("[0, 0]", "[0, 40]", "at most [0, 5]"),
        ("columns", "boxed = true\ncolumns", "leave boxed = true out"),
        ("\"turn\"", "\"gone\"", "write rearm = \"turn\""),
        ("\"turn\"", "\"compaction\"", "write rearm = \"turn\""),
        ("columns", "above = 'x'\ncolumns", "leave above out"),
        ("columns", "secrets = [\"url\"]\ncolumns", "from the screen alone"),
        ("'■ no", "'.*no", "it must begin with words or signs"),
        ("'■ no", "'(?:[^ ]+)?no", "it must begin with words or signs"),
        (
            "text = \"■ no upstream\"",
            "text = \"\\n■ no upstream\"",
            "on = [\"record\"]: no example matches there",
        ),
        (
            "upstream\"\n",
            "upstream\"\n[[rule.counter]]\ntext = \"■ no upstream here\\n\\n› Ask Codex to do anything\"\n",
            "counter-example 1 matches as a ",
        ),
    ];
    for (from, to, wanted) in cases {
        let said = refusal(&[everywhere(from, to)]);
        assert!(said.contains(wanted), "{to}: {said}\nnot: {wanted}");
    }
}
