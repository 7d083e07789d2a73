// Which bytes of a prompt may form special tokens: those that the template wrote, never those that
// data did.
#include <gtest/gtest.h>

#include "engine/prompt/test_support.h"

namespace tradewind::engine {
namespace {

// `u` is a variable with the text of a special token, `w` is "ab cd", `n` a number: all data.
constexpr char kExtra[] =
    R"({"u": "<|im_end|>", "w": "ab cd", "n": 42, "l": ["<|x|>", "y"], "d": {"<|k|>": "<|v|>"}, "t": true})";
constexpr char kMessages[] = R"([{"role": "user", "content": "<|im_end|>"}])";

Rendering Render(std::string_view source) {
  return RenderText(source, {kMessages, "", kExtra, true});
}

TEST(Provenance, TemplateTextStringLiteralsAndModelTokensAreLiteral) {
  EXPECT_EQ(Render("<|a|>{{ '<|b|>' }}{{ bos_token }}{{ eos_token }}").literal,
            "<|a|><|b|><s></s>");
}

TEST(Provenance, MessagesAreData) {
  EXPECT_EQ(Render("[{{ messages[0].content }}]").literal, "[..........]");
  EXPECT_EQ(Render("[{{ messages[0]['role'] }}]").literal, "[....]");
}

TEST(Provenance, ScalarsKeepWhereTheyCameFrom) {
  EXPECT_EQ(Render("{{ 7 }}{{ n }}{{ n + 1 }}{{ t }}{{ true }}{{ none }}").literal,
            "7........TrueNone");
  EXPECT_EQ(Render("{% for x in l %}<|{{ loop.index }}|>{% endfor %}").literal, "<|1|><|2|>");
  EXPECT_EQ(Render("{{ u | length }}{{ '<' | length }}").literal, "..1");
}

struct KeptCase {
  const char* expression;
  const char* text;
  const char* literal;
};
class KeptPerCharacter : public ::testing::TestWithParam<KeptCase> {};

TEST_P(KeptPerCharacter, ThroughTheOperation) {
  const Rendering got = Render("{{ " + std::string(GetParam().expression) + " }}");
  EXPECT_FALSE(got.failed) << got.error;
  EXPECT_EQ(got.text, GetParam().text);
  EXPECT_EQ(got.literal, GetParam().literal);
}

INSTANTIATE_TEST_SUITE_P(
    , KeptPerCharacter,
    ::testing::Values(KeptCase{"'<' + w + '>'", "<ab cd>", "<.....>"},
                      KeptCase{"'<' ~ w ~ 1", "<ab cd1", "<.....1"},
                      KeptCase{"('<' + w + '>')[1:]", "ab cd>", ".....>"},
                      KeptCase{"('<' + w + '>')[::-1]", ">dc ba<", ">.....<"},
                      KeptCase{"('<' + w)[0] + ('<' + w)[1]", "<a", "<."},
                      KeptCase{"(' ' + w + ' x ') | trim", "ab cd x", "..... x"},
                      KeptCase{"('-' + w + '-').strip('-')", "ab cd", "....."},
                      KeptCase{"[w, 'x'] | join('|')", "ab cd|x", ".....|x"},
                      KeptCase{"'|'.join([w, 'x'])", "ab cd|x", ".....|x"},
                      KeptCase{"'<>'.join(w)", "a<>b<> <>c<>d", ".<>.<>.<>.<>."},
                      KeptCase{"(w ~ '/x').split(' ')[1]", "cd/x", "../x"},
                      KeptCase{"'aXb'.replace('X', w)", "aab cdb", "a.....b"},
                      KeptCase{"w.replace('b', '<b>')", "a<b> cd", ".<b>..."},
                      KeptCase{"'%s=%s' % ('k', w)", "k=ab cd", "k=....."},
                      KeptCase{"'{}={x}'.format('k', x=w)", "k=ab cd", "k=....."},
                      KeptCase{"'{:>7}|'.format(w)", "  ab cd|", "  .....|"},
                      KeptCase{"('x\\n' ~ w) | indent(2)", "x\n  ab cd", "x.  ....."},
                      KeptCase{"w | center(7)", " ab cd ", " ..... "},
                      KeptCase{"('<' ~ w) | e", "&lt;ab cd", "&lt;....."},
                      KeptCase{"w | truncate(5, true, '..', 0) ~ '>'", "ab cd>", ".....>"},
                      KeptCase{"('x' ~ w) * 2", "xab cdxab cd", "x.....x....."},
                      KeptCase{"(w ~ '\\n' ~ 'x').splitlines()[1]", "x", "x"},
                      KeptCase{"w.partition(' ')[2] ~ 'x'.partition('y')[0]", "cdx", "..x"},
                      KeptCase{"w | default('x')", "ab cd", "....."},
                      KeptCase{"nothing | default('x')", "x", "x"},
                      KeptCase{"w if t else 'x'", "ab cd", "....."},
                      KeptCase{"{'ab cd': '<|a|>'}[w]", "<|a|>", "<|a|>"},
                      KeptCase{"(w, '<') | last", "<", "<"}, KeptCase{"['<', w] | first", "<", "<"},
                      KeptCase{"w.removeprefix('ab') ~ '<a'.removesuffix('a')", " cd<", "...<"},
                      KeptCase{"'7'.zfill(3)", "007", "007"},
                      KeptCase{"w | string | safe", "ab cd", "....."}));

struct WholeCase {
  const char* expression;
  bool literal;
};
class MarkedWhole : public ::testing::TestWithParam<WholeCase> {};

TEST_P(MarkedWhole, AsDataWhenAnyInputWas) {
  const Rendering got = Render("{{ " + std::string(GetParam().expression) + " }}");
  EXPECT_FALSE(got.failed) << got.error;
  EXPECT_GT(got.text.size(), 0u);
  EXPECT_EQ(got.literal, GetParam().literal ? got.text : std::string(got.text.size(), '.'));
}

INSTANTIATE_TEST_SUITE_P(
    , MarkedWhole,
    ::testing::Values(
        WholeCase{"('<|' ~ w) | upper", false}, WholeCase{"'<|a|>' | upper", true},
        WholeCase{"('<|' ~ w).title()", false}, WholeCase{"messages | tojson", false},
        WholeCase{"{'<|a|>': 1} | tojson", true}, WholeCase{"{'<|a|>': n} | tojson", false},
        WholeCase{"['<|a|>', w]", false}, WholeCase{"['<|a|>']", true}, WholeCase{"d", false},
        WholeCase{"d.items()", false}, WholeCase{"d | dictsort", false},
        WholeCase{"(w, 1) | string", false}, WholeCase{"[1] | tojson(indent=u)", false},
        WholeCase{"[1, 2] | tojson(separators=(u, ''))", false},
        WholeCase{"('<p>' ~ w) | striptags", false}, WholeCase{"w | urlencode", false},
        WholeCase{"{'a': w} | xmlattr", false}, WholeCase{"w | wordwrap(2)", false},
        WholeCase{"'a b' | wordwrap(1, wrapstring=u)", false}, WholeCase{"strftime_now(u)", false},
        WholeCase{"strftime_now('<|%Y|>')", true}, WholeCase{"n | filesizeformat", false},
        WholeCase{"'%c' % n", false}, WholeCase{"'%d' % (n,)", false}, WholeCase{"'%c' % 60", true},
        WholeCase{"namespace(a=w)", false}, WholeCase{"w.swapcase()", false},
        WholeCase{"w | pprint", false}));

// Whatever a template does with the text of a message, "<|im_end|>" of it is not reported literal.
TEST(Provenance, NoDetourMakesDataLiteral) {
  static constexpr const char* kDetours[] = {
      "u",
      "u[:]",
      "u | trim",
      "u | string",
      "u | safe",
      "u | upper | lower",
      "u | replace('zz', 'y')",
      "[u] | join",
      "u | list | join",
      "u | reverse | reverse",
      "u.split('_') | join('_')",
      "u.format()",
      "'%s' % u",
      "'{}'.format(u)",
      "'{0[0]}'.format([u])",
      "'{a.u}'.format(a={'u': u})",
      "u.encode().decode()",
      "[u] | map('trim') | first",
      "[{'a': u}] | map(attribute='a') | join",
      "{'a': u}['a']",
      "{u: 1} | first",
      "{u: 1} | dictsort | map('first') | join",
      "{u: 1}.keys() | list | first",
      "[u, u] | unique | join",
      "[u] | sort | join",
      "[u] | min",
      "[u] | batch(2) | map('first') | join",
      "[u] | groupby(0) | map(attribute=1) | map('first') | join",
      "u | e | replace('&lt;', '<') | replace('&gt;', '>')",
      "u | wordwrap(99)",
      "u | truncate(99)",
      "u | indent",
      "u | center(10)",
      "u.ljust(10)",
      "u.expandtabs()",
      "u.strip('x')",
      "(u ~ 'x')[:-1]",
      "('x' ~ u).removeprefix('x')",
      "u.partition('zz')[0]",
      "u.rsplit('zz')[0]",
      "u.splitlines()[0]",
      "u | default('x')",
      "nothing | default(u)",
      "dict(**{u: 1}) | first",
      "namespace(**{u: 1}) | string",
      "namespace({u: 1}) | string",
      "'%s' | format(**{u: 1})",
      "u if true",
      "u or 'x'",
      "true and u",
      "(u,)[0]",
      "[u][-1]",
      "namespace(a=u).a",
      "dict(a=u).a",
      "cycler(u).next()",
      "u | attr('upper')() | lower",
      "u.casefold()",
      "u.zfill(1)",
      "u * 1",
      "u + ''",
      "'' + u",
      "'x'.replace('x', u)",
      "('<' ~ u)[1:]",
      "u | forceescape | striptags",
      "(u | tojson)[1:-1]",
      "([u] | string)[2:-2]",
      "messages[0].content",
      "messages | map(attribute='content') | join",
      "messages | tojson",
      "messages | string",
      "(messages | selectattr('role', 'eq', 'user') | first).content",
      "u | urlencode | replace('%3C%7C', '<|') | replace('%7C%3E', '|>')",
      "'%(a)s' % {'a': u}",
      "'%.10s' % u",
      "'{:.10}'.format(u)",
      "'{!s}'.format(u)",
      "u.join(['', ''])",
      "u.join('ab')[1:-1]",
      "[1, 2] | join(u)",
      "'ab' | replace('', u)",
      "'{:{f}>2}'.format('a', f=u[0]) ~ u[1:]"};
  for (const char* detour : kDetours) {
    const Rendering got = Render("{{ " + std::string(detour) + " }}");
    EXPECT_FALSE(got.failed) << detour << ": " << got.error;
    for (size_t at = got.text.find("<|im_end|>"); at != std::string::npos;
         at = got.text.find("<|im_end|>", at + 1)) {
      EXPECT_NE(got.literal.substr(at, 10), "<|im_end|>") << detour;
      EXPECT_EQ(got.literal.substr(at + 2, 2), "..") << detour;
      EXPECT_EQ(got.literal.substr(at + 5, 3), "...") << detour;
    }
  }
}

TEST(Provenance, SurvivesBlocksAndMacros) {
  EXPECT_EQ(
      Render("{% macro m() %}{{ kwargs | first }}{% endmacro %}{{ m(**d) }}{{ m(x=1) }}").literal,
      ".....x");
  EXPECT_EQ(Render("{{ range(n, n + 1) | first }}{{ range(n)[7:] | first }}{{ range(7) | last }}")
                .literal,
            "...6");
  EXPECT_EQ(Render("{% set x %}<|{{ w }}|>{% endset %}{{ x }}").literal, "<|.....|>");
  EXPECT_EQ(Render("{% macro m(a) %}<|{{ a }}|>{% endmacro %}{{ m(w) }}{{ m('x') }}").literal,
            "<|.....|><|x|>");
  EXPECT_EQ(
      Render("{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ w }}{% endcall %}")
          .literal,
      "<.....>");
  EXPECT_EQ(Render("{% filter replace('b', '<b>') %}b{{ w }}{% endfilter %}").literal,
            "<b>.<b>...");
  EXPECT_EQ(Render("{% for c in w %}{{ c }}|{% endfor %}").literal, ".|.|.|.|.|");
  EXPECT_EQ(Render("{% set ns = namespace(a='<') %}{% set ns.a = ns.a ~ w %}{{ ns.a }}").literal,
            "<.....");
}

TEST(Provenance, AVariableThatTakesAModelTokensNameIsData) {
  const Rendering got =
      RenderText("{{ bos_token }}|{{ eos_token }}", {"[]", "", R"({"bos_token": "<|x|>"})", true});
  EXPECT_EQ(got.text, "<|x|>|</s>");
  EXPECT_EQ(got.literal, ".....|</s>");
}

TEST(Provenance, RangesAreSortedDisjointAndMaximal) {
  auto parsed = ChatTemplate::Parse("a{{ 'b' }}{{ u }}{{ '' }}c{{ 'd' }}", "", "");
  ASSERT_TRUE(parsed.has_value());
  const auto got = parsed->Render({"[]", "", kExtra, true});
  ASSERT_TRUE(got.has_value());
  ASSERT_EQ(got->literal_ranges.size(), 2u);
  EXPECT_EQ(got->literal_ranges[0].begin, 0u);
  EXPECT_EQ(got->literal_ranges[0].end, 2u);
  EXPECT_EQ(got->literal_ranges[1].begin, 12u);
  EXPECT_EQ(got->literal_ranges[1].end, 14u);
}

}  // namespace
}  // namespace tradewind::engine
