#include "cli/arguments.h"

#include <algorithm>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace tradewind::cli {
namespace {

size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) {
    row[j] = j;
  }
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// "; did you mean X?" when something is close.
std::string Suggestion(std::string_view wrong, const std::vector<std::string>& names) {
  const std::string* best = nullptr;
  size_t best_distance = std::min<size_t>(3, wrong.size() / 2 + 1);
  for (const std::string& name : names) {
    const size_t distance = EditDistance(wrong.substr(0, 64), name);
    if (distance < best_distance) {
      best = &name;
      best_distance = distance;
    }
  }
  return best == nullptr ? "" : fmt::format(" Did you mean {}?", *best);
}

Error UnknownVerb(std::string_view verb) {
  std::vector<std::string> names;
  for (const Command& command : Commands()) {
    if (!command.hidden) {
      names.emplace_back(command.name);
    }
  }
  return {ErrorCode::kInvalidArgument,
          fmt::format("there is no verb \"{}\".{} `tradewind help` lists them", verb,
                      Suggestion(verb, names)),
          "",
          {}};
}

Error WrongUsage(const Command& command, std::string message, const std::string& word = "") {
  std::vector<std::string> names;
  for (const auto flags : {command.flags, CommonFlags()}) {
    for (const Flag& flag : flags) {
      names.push_back(fmt::format("--{}", flag.name));
    }
  }
  return {ErrorCode::kInvalidArgument,
          fmt::format("{}.{} See `tradewind help {}`", message,
                      word.empty() ? "" : Suggestion(word, names), command.name),
          "",
          {}};
}

std::vector<std::string> Words(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

// Before the verb looks at the other words: which it wants depends on this one.
Status CheckChoice(const Command& command, const Argument& argument,
                   const std::vector<std::string>& given) {
  const std::vector<std::string> choices = Words(argument.choices);
  if (choices.empty() || given.empty() ||
      std::ranges::find(choices, given.front()) != choices.end()) {
    return {};
  }
  return Fail(
      ErrorCode::kInvalidArgument,
      fmt::format("{} does not know \"{}\".{} It takes {}. See `tradewind help {}`", command.name,
                  given.front().substr(0, 80), Suggestion(given.front(), choices),
                  fmt::join(choices, ", "), command.name),
      std::string(argument.name));
}

// CLI11's view of one command, writing into `out`.
void Describe(const Command& command, CLI::App& app, Arguments& out,
              std::map<std::string, bool>& switches, std::vector<std::string>& words) {
  app.set_help_flag("");
  app.add_flag("-h,--help", out.help);
  for (const auto flags : {command.flags, CommonFlags()}) {
    for (const Flag& flag : flags) {
      const std::string name(flag.name);
      if (flag.value.empty()) {
        const std::string letter = flag.letter == 0 ? "" : fmt::format("-{},", flag.letter);
        app.add_flag(letter + "--" + name, switches[name]);
      } else {
        app.add_option("--" + name, out.flags[name])
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      }
    }
  }
  app.add_option("words", words)->expected(0, CLI::detail::expected_max_vector_size);
}

// One word for each argument in turn; a repeated one takes the rest.
Status Distribute(const Command& command, const std::vector<std::string>& words, Arguments& out) {
  out.positional.resize(command.arguments.size());
  for (size_t i = 0; i < words.size(); ++i) {
    const size_t last = command.arguments.size() - 1;
    const bool fits = !command.arguments.empty() && (i <= last || command.arguments[last].repeated);
    if (!fits) {
      return Fail(WrongUsage(command, fmt::format("\"{}\" is not expected here", words[i])));
    }
    out.positional[std::min(i, last)].push_back(words[i]);
  }
  return {};
}

Status ParseWithCli11(const Command& command, std::vector<std::string> words, Arguments& out) {
  std::map<std::string, bool> switches;
  std::vector<std::string> positional;
  CLI::App app;
  Describe(command, app, out, switches, positional);
  try {
    std::reverse(words.begin(), words.end());  // CLI11 takes its vector from the back
    app.parse(words);
  } catch (const CLI::ExtrasError& error) {
    const auto extras = app.remaining();
    const std::string word = extras.empty() ? "" : extras.front();
    return Fail(WrongUsage(command, fmt::format("\"{}\" is not expected here", word), word));
  } catch (const CLI::Error& error) {
    return Fail(WrongUsage(command, error.what()));
  }
  std::erase_if(out.flags, [&](const auto& entry) { return app.count("--" + entry.first) == 0; });
  for (const auto& [name, given] : switches) {
    if (app.count("--" + name) > 0) {
      out.flags[name] = given ? "true" : "false";
    }
  }
  return Distribute(command, positional, out);
}

}  // namespace

Result<Arguments> ParseArguments(const std::vector<std::string>& words) {
  std::string verb = words.empty() ? "help" : words.front();
  verb = verb == "--help" || verb == "-h" ? "help" : verb == "--version" ? "version" : verb;
  const Command* command = FindCommand(verb);
  if (command == nullptr) {
    return Fail(UnknownVerb(verb));
  }
  Arguments out;
  out.command = command;
  std::vector<std::string> rest(words.begin() + (words.empty() ? 0 : 1), words.end());
  TW_RETURN_IF_ERROR(ParseWithCli11(*command, std::move(rest), out));
  for (size_t i = 0; i < command->arguments.size() && !out.help; ++i) {
    if (command->arguments[i].required && out.positional[i].empty()) {
      return Fail(WrongUsage(*command, fmt::format("{} is missing", command->arguments[i].name)));
    }
    TW_RETURN_IF_ERROR(CheckChoice(*command, command->arguments[i], out.positional[i]));
  }
  return out;
}

}  // namespace tradewind::cli
