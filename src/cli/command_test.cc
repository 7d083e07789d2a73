#include "cli/command.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "cli/arguments.h"
#include "cli/help.h"

namespace tradewind::cli {
namespace {

std::string Escaped(std::string_view flag) {  // as roff has it
  std::string out;
  for (const char c : flag) {
    out += c == '-' ? "\\-" : std::string(1, c);
  }
  return out;
}

TEST(CommandTable, EveryVerbIsDocumentedAndRuns) {
  for (const Command& command : Commands()) {
    EXPECT_FALSE(command.summary.empty()) << command.name;
    EXPECT_FALSE(command.description.empty()) << command.name;
    EXPECT_NE(command.run, nullptr) << command.name;
    for (const Flag& flag : command.flags) {
      EXPECT_FALSE(flag.help.empty()) << command.name << " " << flag.name;
      EXPECT_EQ(flag.offer == Offer::kChoice, !flag.choices.empty())
          << command.name << " " << flag.name;
    }
    EXPECT_EQ(HelpText().find(command.name) == std::string::npos, command.hidden) << command.name;
  }
}

TEST(CommandTable, AFlagMeansTheSameVariableAndKeyInEveryVerb) {
  std::map<std::string, std::pair<std::string, std::string>> seen;
  for (const Command& command : Commands()) {
    std::set<std::string_view> names;
    for (const auto flags : {command.flags, CommonFlags()}) {
      for (const Flag& flag : flags) {
        EXPECT_TRUE(names.insert(flag.name).second) << command.name << " " << flag.name;
        const auto twin = std::pair(EnvironmentName(flag), std::string(flag.config));
        const auto& first = seen.try_emplace(std::string(flag.name), twin).first->second;
        EXPECT_EQ(first, twin) << command.name << " " << flag.name;
        EXPECT_TRUE(twin.first.starts_with("TRADEWIND_"));
      }
    }
  }
  EXPECT_EQ(seen["top-p"].first, "TRADEWIND_TOP_P");
  EXPECT_EQ(seen["models-dir"].first, "TRADEWIND_MODELS");
}

TEST(CommandTable, HelpManAndCompletionsKnowEveryFlag) {
  const std::string man = ManPage();
  for (const Command& command : Commands()) {
    if (command.hidden) {
      EXPECT_EQ(man.find(command.name), std::string::npos);
      continue;
    }
    const std::string help = HelpText(command);
    for (const auto flags : {command.flags, CommonFlags()}) {
      for (const Flag& flag : flags) {
        EXPECT_NE(help.find("--" + std::string(flag.name)), std::string::npos)
            << command.name << flag.name;
        EXPECT_NE(man.find(Escaped("--" + std::string(flag.name))), std::string::npos) << flag.name;
        EXPECT_NE(man.find(Escaped(EnvironmentName(flag))), std::string::npos) << flag.name;
      }
    }
    for (const char* shell : {"bash", "zsh", "fish"}) {
      const std::string script = CompletionScript(shell).value();
      EXPECT_NE(script.find(command.name), std::string::npos) << shell;
      for (const Flag& flag : command.flags) {
        const std::string wanted =
            std::string(shell == std::string_view("fish") ? "-l " : "--") + std::string(flag.name);
        EXPECT_NE(script.find(wanted), std::string::npos) << shell << " " << wanted;
      }
    }
  }
  EXPECT_EQ(CompletionScript("tcsh").error().code, ErrorCode::kInvalidArgument);
}

Arguments Parsed(std::vector<std::string> words) {
  auto out = ParseArguments(words);
  EXPECT_TRUE(out.has_value()) << (out ? "" : out.error().message);
  return out.value_or(Arguments{});
}

std::string Refusal(std::vector<std::string> words) {
  const auto out = ParseArguments(words);
  EXPECT_FALSE(out.has_value());
  EXPECT_EQ(out.has_value() ? ErrorCode::kInternal : out.error().code, ErrorCode::kInvalidArgument);
  return out ? "" : out.error().message;
}

TEST(Arguments, FlagsAndWordsMayMix) {
  const Arguments out =
      Parsed({"run", "org/model", "--temp", "0.5", "why", "is", "--stats", "it", "--temp=0.7"});
  EXPECT_EQ(out.command->name, "run");
  EXPECT_EQ(out.positional[0], (std::vector<std::string>{"org/model"}));
  EXPECT_EQ(out.positional[1], (std::vector<std::string>{"why", "is", "it"}));
  EXPECT_EQ(out.flags.at("temp"), "0.7");
  EXPECT_EQ(out.flags.at("stats"), "true");
  EXPECT_FALSE(out.flags.contains("seed"));
}

TEST(Arguments, AfterTwoDashesNothingIsAFlag) {
  const Arguments out = Parsed({"run", "m", "--", "--stats", "-5 degrees"});
  EXPECT_EQ(out.positional[1], (std::vector<std::string>{"--stats", "-5 degrees"}));
  EXPECT_TRUE(out.flags.empty());
}

TEST(Arguments, NoWordsAndUsualSpellingsFindHelpAndVersion) {
  EXPECT_EQ(Parsed({}).command->name, "help");
  EXPECT_EQ(Parsed({"--help"}).command->name, "help");
  EXPECT_EQ(Parsed({"-h"}).command->name, "help");
  EXPECT_EQ(Parsed({"--version"}).command->name, "version");
  EXPECT_TRUE(Parsed({"run", "--help"}).help);  // without its REF
  EXPECT_TRUE(Parsed({"keys", "revok", "--help"}).help);
  EXPECT_EQ(Parsed({"help", "run"}).positional[0][0], "run");
}

TEST(Arguments, MistakesAreNamedWithTheClosestNameAndTheNextStep) {
  EXPECT_NE(Refusal({"serv"}).find("Did you mean serve?"), std::string::npos);
  EXPECT_NE(Refusal({"zzzzzz"}).find("`tradewind help`"), std::string::npos);
  EXPECT_NE(Refusal({"ls", "--jsn"}).find("Did you mean --json?"), std::string::npos);
  EXPECT_NE(Refusal({"keys", "revok", "x"}).find("Did you mean revoke?"), std::string::npos);
  EXPECT_NE(Refusal({"bill", "zzzzzz", "1"}).find("show, verify, export"), std::string::npos);
  EXPECT_NE(Refusal({"show"}).find("REF is missing"), std::string::npos);
  EXPECT_NE(Refusal({"show", "a", "b"}).find("\"b\" is not expected"), std::string::npos);
  EXPECT_NE(Refusal({"ls", "x"}).find("`tradewind help ls`"), std::string::npos);
  Refusal({"serve", "--port"});
  Refusal({std::string(100000, 'x')});
  Refusal({""});
}

}  // namespace
}  // namespace tradewind::cli
