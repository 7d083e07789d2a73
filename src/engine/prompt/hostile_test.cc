// Templates and inputs that mean harm end with a clear error, soon, and without taking memory or
// stack.

#include <gtest/gtest.h>

#include "engine/prompt/test_support.h"
#include "engine/prompt/text.h"

namespace tradewind::engine {
namespace {

Rendering Render(std::string_view source, std::string messages = "[]") {
  return RenderText(source, {std::move(messages), "", "", true});
}

std::string Repeat(std::string_view text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) {
    out += text;
  }
  return out;
}

class HostileTemplate : public ::testing::TestWithParam<const char*> {};

// What does not end is ended by ctest.
TEST_P(HostileTemplate, EndsInAnError) {
  const Rendering got = Render(GetParam());
  EXPECT_TRUE(got.failed) << got.text.size();
  EXPECT_EQ(got.code, ErrorCode::kTemplateFailed);
  EXPECT_TRUE(got.error.starts_with("line ")) << got.error;
}

INSTANTIATE_TEST_SUITE_P(
    , HostileTemplate,
    ::testing::Values(
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 1000000000 }}", "{{ 'x' * 9223372036854775807 }}", "{{ [0] * 1000000000 }}",
        "{{ ([0] * 100000) * 100000 }}", "{{ range(1000000000) }}",
        "{{ range(-9223372036854775807, 9223372036854775807) }}", "{{ 2 ** 64 }}",
        "{{ 9223372036854775807 + 1 }}", "{{ 3037000500 * 3037000500 }}",
        "{{ 10 ** 999999999999 }}", "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ 99999999999999999999 + 1 }}", "{{ -(-9223372036854775807 - 1) }}",
        "{{ '%999999999d' % 1 }}", "{{ '%.999999999f' % 1.5 }}", "{{ '%*d' % (999999999, 1) }}",
        "{{ '%99999999999999999999d' % 1 }}", "{{ '{:999999999}'.format(1) }}",
        "{{ '{:.999999999f}'.format(1.5) }}", "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ 'x'.center(999999999) }}", "{{ 'x'.ljust(9223372036854775807) }}",
        "{{ 'x'.zfill(999999999) }}", "{{ 'x' | center(999999999) }}",
        "{{ 'a\\nb' | indent(999999999) }}", "{{ '\\t'.expandtabs(999999999) }}",
        "{{ [1] | tojson(indent=999999999) }}", "{{ [1] | batch(999999999, 0) | list }}",
        "{{ [1] | slice(999999999) | list }}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% "
        "endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = ns.s.replace('x', "
        "ns.s) %}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = ns.s | join(ns.s) "
        "%}{% endfor %}",
        "{% set ns = namespace(s='xx') %}{% for i in range(100) %}{% set ns.s = '%s%s' % (ns.s, "
        "ns.s) %}{% endfor %}",
        "{% set ns = namespace(l=[0]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% "
        "endfor %}",
        "{% set ns = namespace(l=[0]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% "
        "endfor %}",
        "{% set ns = namespace(l={}) %}{% for i in range(100000) %}{% set ns.l = {'a': ns.l} %}{% "
        "endfor %}",
        "{% set ns = namespace(l=(0,)) %}{% for i in range(100) %}{% set ns.l = (ns.l, ns.l) %}{% "
        "endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[0]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% "
        "endfor %}{{ ns.l == ns.l + [] }}{{ ns.l }}",
        "{% set ns = namespace(l=[0]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% "
        "endfor %}{{ ns.l | tojson }}",
        "{% set ns = namespace(l=(0,)) %}{% for i in range(60) %}{% set ns.l = (ns.l, ns.l) %}{% "
        "endfor %}{{ {ns.l: 1} }}",
        "{% set ns = namespace(l=[0]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% "
        "endfor %}"
        "{% set m = namespace(l=[0]) %}{% for i in range(60) %}{% set m.l = [m.l, m.l] %}{% endfor "
        "%}{{ ns.l == m.l }}",
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace() %}{% macro a(f) %}{% macro b() %}{{ f }}{% endmacro %}{% set ns.f "
        "= b %}{% endmacro %}"
        "{% for i in range(100000) %}{{ a(ns.f) }}{% for j in range(100) %}{{ ns.f() }}{% endfor "
        "%}{% endfor %}",
        "{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.n = namespace(n=ns.n, "
        "t='x' * 1000) %}{% endfor %}",
        "{% set ns = namespace() %}{% for i in range(100000) %}{% for j in [ns.l] %}{% set ns.l = "
        "[loop, loop] %}{% endfor %}{% endfor %}"
        "{{ 'x' * 1000000000 }}",
        "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{% for i in range(10) %}{{ 'x' * 9000000 }}{% endfor %}",
        "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% if s.find('c') %}{% endif %}{% "
        "endfor %}",
        "{% set s = 'é' * 1000000 %}{% for i in range(100000) %}{% if s[999999] %}{% endif %}{% "
        "endfor %}",
        "{% set s = 'ab' * 1000000 %}{% for i in range(100000) %}{% set t = s | upper %}{% endfor "
        "%}",
        "{% set l = range(100000) | list %}{% for i in range(100000) %}{% if -1 in l %}{% endif "
        "%}{% endfor %}",
        "{% set l = range(100000) | list %}{% for i in range(100000) %}{% set m = l | sort %}{% "
        "endfor %}",
        "{{ strftime_now('%Y' * 10000) }}", "{{ strftime_now('%9999999Y') }}",
        "{{ 'a'.split() | map('x' * 100000) | list }}",
        "{{ 1e308 * 10 | int }}{{ (1e308 * 10) | int }}"));

TEST(HostileSource, IsRefusedWhenItNestsTooDeep) {
  for (const auto& [open, close] :
       std::initializer_list<std::pair<const char*, const char*>>{{"(", ")"},
                                                                  {"[", "]"},
                                                                  {"{1:", "}"},
                                                                  {"-", ""},
                                                                  {"not ", ""},
                                                                  {"f(", ")"},
                                                                  {"1 if 1 else ", ""},
                                                                  {"x[", "]"}}) {
    const Rendering got =
        Render("{{ " + Repeat(open, 100000) + "1" + Repeat(close, 100000) + " }}");
    EXPECT_TRUE(got.failed);
    EXPECT_EQ(got.phase, "compile") << open;
  }
  for (const char* block : {"{% if 1 %}", "{% for x in y %}", "{% macro m() %}",
                            "{% filter upper %}", "{% set x %}", "{% with %}"}) {
    const Rendering got = Render(Repeat(block, 50000));
    EXPECT_TRUE(got.failed);
    EXPECT_EQ(got.phase, "compile") << block;
  }
}

TEST(HostileSource, MayBeLongInBreadth) {
  EXPECT_EQ(Render("{{ 0" + Repeat(" + 1", 20000) + " }}").text, "20000");
  EXPECT_EQ(Render("{{ ''" + Repeat(" ~ 'a'", 20000) + " }}").text.size(), 20000u);
  EXPECT_EQ(Render("{{ 0" + Repeat(" or 0", 20000) + " }}").text, "0");
  EXPECT_EQ(Render("{% if 0 %}" + Repeat("{% elif 0 %}", 20000) + "{% else %}x{% endif %}").text,
            "x");
  EXPECT_TRUE(Render("{{ 'a'" + Repeat("|trim", 20000) + " }}")
                  .failed);  // a chain of calls nests when it runs
  EXPECT_TRUE(Render("{{ x" + Repeat(".y", 20000) + " }}").failed);
}

TEST(HostileSource, IsBoundedInSize) {
  EXPECT_EQ(Render(std::string((1 << 20) + 1, 'x')).phase, "compile");
  EXPECT_FALSE(Render(std::string(1 << 20, 'x')).failed);
  EXPECT_EQ(Render("{{ [" + Repeat("1,", 400000) + "] }}").phase, "compile");
  EXPECT_EQ(Render("{{ " + std::string(5000, '9') + " }}").phase, "compile");
}

TEST(HostileSource, IsCutAnywhereWithoutHarm) {
  const std::string source =
      "a {%- macro m(a, b=1) -%} {{ a ~ \"\\u00e9\" }} {%- endmacro %}{# c #}{% raw %}{{ }}{% "
      "endraw %}"
      "{% for k, v in {'a': [1, 2.5e3]}.items() if v is not none recursive %}{{ loop.index | "
      "default(3) }}{% else %}{% endfor %}"
      "{% set ns.x = (1, 2)[::-1] %}{% set y | upper %}x{% endset %}{% call(q) m(1, *z, **w) %}é{% "
      "endcall %}";
  for (size_t size = 0; size <= source.size(); ++size) {
    Render(source.substr(0, size));
    Render(source.substr(size));
  }
}

TEST(HostileInput, IsRefusedAsInput) {
  for (const char* messages : {"",           "{",          "[",         "{}",          "[1] 2",
                               "[\"\x01\"]", "[\"\xff\"]", "[\"\\q\"]", "[\"\\u12\"]", "[01]",
                               "[1.]",       "[1e]",       "[-]",       "[tru]",       "[,]",
                               "[1,]",       "[{1:2}]",    "[{\"a\"}]", "[{\"a\":}]",  "[\"a"}) {
    const Rendering got = Render("x", messages);
    EXPECT_TRUE(got.failed) << messages;
    EXPECT_EQ(got.code, ErrorCode::kInvalidArgument) << messages;
  }
  EXPECT_EQ(Render("x", Repeat("[", 100000)).code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(Render("x", "[" + Repeat("[],", 3000000) + "1]").failed);
  for (const char* name : {"messages", "tools", "documents", "add_generation_prompt"}) {
    const Rendering got = RenderText("x", {"[]", "", "{\"" + std::string(name) + "\": 1}", true});
    EXPECT_EQ(got.code, ErrorCode::kInvalidArgument);
  }
}

TEST(HostileInput, LongButHonestConversationsRender) {
  std::string messages = "[";
  for (int i = 0; i < 4096; ++i) {
    messages += std::string(i > 0 ? "," : "") + R"({"role":")" +
                (i % 2 == 0 ? "user" : "assistant") + R"(","content":")" + std::string(1000, 'x') +
                "\"}";
  }
  const Rendering got = Render(
      "{% set ns = namespace(l=[]) %}{% for m in messages %}{% set ns.l = ns.l + [m] %}{% endfor %}"
      "{% for m in ns.l %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>\n{% endfor %}",
      messages + "]");
  EXPECT_FALSE(got.failed) << got.error;
  EXPECT_GT(got.text.size(), 4'096'000u);
}

TEST(HostileInput, ABigTextRenders) {
  const Rendering got =
      Render("{% for m in messages %}{{ '<' + m.content | trim + '>' }}{% endfor %}",
             R"([{"role":"user","content":")" + std::string(10 << 20, 'x') + "\"}]");
  EXPECT_FALSE(got.failed) << got.error;
}

TEST(Cycles, PrintWithAnEnd) {
  EXPECT_FALSE(Render("{% set ns = namespace() %}{% set ns.l = [ns, {'a': (ns,)}] %}{{ ns }}{{ "
                      "[ns] }}{{ ns.l }}{{ '%r' % (ns,) }}")
                   .failed);
  EXPECT_FALSE(Render("{% for x in [1] %}{{ loop.changed(loop) }}{{ loop.changed([loop]) }}{{ loop "
                      "}}{{ loop == loop }}{% endfor %}")
                   .failed);
}

TEST(Cycles, AreTakenApartAtTheEnd) {  // LeakSanitizer looks for what is left
  EXPECT_FALSE(
      Render("{% set ns = namespace() %}{% set ns.self = ns %}{% set ns.l = [ns, {'a': ns}] %}")
          .failed);
  EXPECT_FALSE(Render("{% set ns = namespace() %}{% for x in [ns] %}{% set ns.l = loop %}{{ "
                      "loop.changed(loop, ns) }}{% endfor %}")
                   .failed);
  EXPECT_FALSE(Render("{% set ns = namespace() %}{% macro a() %}{% macro b() %}{{ ns }}{% endmacro "
                      "%}{% set ns.b = b %}{% endmacro %}{{ a() }}")
                   .failed);
  EXPECT_FALSE(Render("{% for x in [1, 2] %}{% set y %}{% macro m() %}{{ m }}{{ loop }}{% endmacro "
                      "%}{% endset %}{% endfor %}")
                   .failed);
}

TEST(Json, KeepsOrderIntegersAndFloatsApart) {
  const auto show = [](std::string_view json) {
    return RenderText("{{ v | tojson }}", {"[]", "", "{\"v\": " + std::string(json) + "}", true})
        .text;
  };
  EXPECT_EQ(show(R"({"b":1,"a":1.0,"c":-0.0,"d":1e2,"b":2})"),
            R"({"b": 2, "a": 1.0, "c": -0.0, "d": 100.0})");
  EXPECT_EQ(show("[18446744073709551615, -9223372036854775808, -0, 1e400]"),
            "[18446744073709551615, -9223372036854775808, 0, Infinity]");
  EXPECT_EQ(show(R"(["\ud83d\ude42\u00e9\ud800x"])"), "[\"🙂é\xEF\xBF\xBDx\"]");
}

}  // namespace
}  // namespace tradewind::engine
