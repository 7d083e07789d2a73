#include "cli/help.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace tradewind::cli {
namespace {

constexpr std::string_view kExitCodes[][2] = {
    {"0", "done"},
    {"1", "internal failure, or the port is taken"},
    {"2", "usage error, or a request that cannot be answered as asked"},
    {"3", "not found (model, file, id)"},
    {"4", "not authorised"},
    {"5", "budget or credit exhausted"},
    {"6", "upstream failed after retries, or its queue is full"},
    {"7", "not reachable, or timed out"},
    {"8", "not enough memory or disk"},
    {"9", "data damaged"},
    {"10", "gate failed"},
    {"11", "not enough evidence to decide"},
    {"130 / 143", "interrupted / terminated"},
};

// What the page says beyond the table of verbs: paragraphs, or pairs of a word and its meaning.
constexpr std::string_view kManDescription =
    "tradewind serves open models behind one OpenAI-compatible endpoint, on 127.0.0.1:8737 unless "
    "told otherwise. Models are GGUF files; they run on this device.\n\n"
    "Data goes to stdout, progress and errors to stderr. Verbs that read take --json, whose "
    "output names its schema and version; missing values are null. Nothing is ever asked when "
    "there is no terminal.\n\n"
    "A flag beats its environment twin, that the user's config file, that the system's, and that "
    "the built-in value, which stands in [brackets].";
constexpr std::string_view kManReferences =
    "REF is a model id, org/name, or name alone when only one model has it; after a colon or @ "
    "may stand a place (local) or a policy (fastest, cheapest, preferred, private). What "
    "begins with /, ./, ../ or ~/, or ends in .gguf, is a path to a file.";
constexpr std::string_view kManFiles[][2] = {
    {"$TRADEWIND_HOME",
     "data folder, mode 0700; else $XDG_DATA_HOME/tradewind, else "
     "~/.local/share/tradewind"},
    {"HOME/models", "GGUF files, unless --models-dir or $TRADEWIND_MODELS names a folder"},
    {"HOME/server.json", "address and process of the running server"},
    {"HOME/private/", "servers that run has started, each with its serve.log"},
    {"~/.config/tradewind/config.toml, /etc/tradewind/config.toml",
     "settings of the user ($XDG_CONFIG_HOME) and of the system, or the one that --config names"},
};
constexpr std::string_view kManEnvironment[][2] = {
    {"TRADEWIND_HOST, TRADEWIND_PORT", "also the server that verbs talk to, when set"},
    {"TRADEWIND_TOKEN", "sent as a bearer token by verbs that talk to a server"},
    {"NO_COLOR", "no colours, also on a terminal"},
};

std::string FlagLabel(const Flag& flag) {
  const std::string letter = flag.letter == 0 ? "" : fmt::format("-{}, ", flag.letter);
  return flag.value.empty() ? fmt::format("{}--{}", letter, flag.name)
                            : fmt::format("{}--{} {}", letter, flag.name, flag.value);
}

std::string FlagNotes(const Flag& flag) {
  std::string notes(flag.help);
  if (!flag.choices.empty()) {
    std::string choices(flag.choices);
    std::replace(choices.begin(), choices.end(), ' ', '|');
    notes += fmt::format(": {}", choices);
  }
  if (!flag.built_in.empty()) {
    notes += fmt::format(" [{}]", flag.built_in);
  }
  return notes;
}

std::string Wrap(std::string_view text, size_t width, std::string_view indent) {
  std::string out;
  size_t column = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    if (column > 0 && column + 1 + word.size() > width) {
      out += fmt::format("\n{}", indent);
      column = 0;
    }
    out += column > 0 ? " " : "";
    out += word;
    column += word.size() + (column > 0 ? 1 : 0);
    if (end < text.size() && text[end] == '\n') {
      out += fmt::format("\n{}", indent);
      column = 0;
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string FlagLines(std::span<const Flag> flags) {
  constexpr size_t kLabelWidth = 22, kTextWidth = 72;
  std::string out;
  for (const Flag& flag : flags) {
    out += fmt::format("  {:<{}}{}\n", FlagLabel(flag), kLabelWidth,
                       Wrap(FlagNotes(flag), kTextWidth, std::string(kLabelWidth + 2, ' ')));
  }
  return out;
}

std::string Roff(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if ((c == '.' || c == '\'') && (i == 0 || text[i - 1] == '\n')) {
      out += fmt::format("\\&{}", c);
    } else if (c == '\n' && i + 1 < text.size() && text[i + 1] == '\n') {
      out += "\n.PP\n";
      ++i;
    } else {
      out += c;
    }
  }
  return out;
}

std::string ManFlags(std::span<const Flag> flags) {
  std::string out;
  for (const Flag& flag : flags) {
    const std::string letter = flag.letter == 0 ? "" : fmt::format("\\fB\\-{}\\fR, ", flag.letter);
    const std::string value =
        flag.value.empty() ? "" : fmt::format(" \\fI{}\\fR", Roff(flag.value));
    out += fmt::format(".TP\n{}\\fB\\-\\-{}\\fR{}\n{}. Environment: {}.", letter, Roff(flag.name),
                       value, Roff(FlagNotes(flag)), Roff(EnvironmentName(flag)));
    out += flag.config.empty() ? "\n" : fmt::format(" Config: {}.\n", flag.config);
  }
  return out;
}

std::string ManPairs(std::span<const std::string_view[2]> pairs) {
  std::string out;
  for (const auto& [word, meaning] : pairs) {
    out += fmt::format(".TP\n\\fB{}\\fR\n{}\n", Roff(word), Roff(meaning));
  }
  return out;
}

}  // namespace

std::string Synopsis(const Command& command) {
  std::string out = fmt::format("tradewind {}", command.name);
  for (const Argument& argument : command.arguments) {
    const std::string name = fmt::format("{}{}", argument.name, argument.repeated ? "..." : "");
    out += argument.required ? fmt::format(" {}", name) : fmt::format(" [{}]", name);
  }
  return out + (command.flags.empty() ? "" : " [flags]");
}

std::string HelpText() {
  std::string out =
      "tradewind serves open models on this device behind one OpenAI-compatible "
      "endpoint.\n\nVerbs\n";
  for (const Command& command : Commands()) {
    if (!command.hidden) {
      out += fmt::format("  {:<12}{}\n", command.name, command.summary);
    }
  }
  return out +
         "\n`tradewind help VERB` explains one. Every flag has an environment twin (--port: "
         "TRADEWIND_PORT);\n"
         "a flag beats the environment, that the config file, that the built-in value.\n";
}

std::string HelpText(const Command& command) {
  std::string out = fmt::format("{}\n\n{}\n", Synopsis(command), Wrap(command.description, 96, ""));
  if (!command.arguments.empty()) {
    out += "\nArguments\n";
    for (const Argument& argument : command.arguments) {
      out += fmt::format("  {:<22}{}\n", argument.name, argument.help);
    }
  }
  if (!command.flags.empty()) {
    out += "\nFlags\n" + FlagLines(command.flags);
  }
  out += "\nCommon flags\n" + FlagLines(CommonFlags());
  if (!command.examples.empty()) {
    out += fmt::format("\nExamples\n  {}\n", Wrap(command.examples, 1000, "  "));
  }
  return out;
}

std::string ManPage() {
  std::string out = fmt::format(
      ".TH TRADEWIND 1 \"\" \"tradewind {0}\" \"User Commands\"\n.SH NAME\ntradewind \\- serve "
      "open models on this device\n"
      ".SH SYNOPSIS\n\\fBtradewind\\fR \\fIVERB\\fR [arguments] [flags]\n",
      TW_VERSION);
  out += fmt::format(".SH DESCRIPTION\n{}\n.SH MODEL REFERENCES\n{}\n.SH VERBS\n",
                     Roff(kManDescription), Roff(kManReferences));
  for (const Command& command : Commands()) {
    if (command.hidden) {
      continue;
    }
    out += fmt::format(".SS {}\n{}\n.PP\n", Roff(Synopsis(command)), Roff(command.description));
    for (const Argument& argument : command.arguments) {
      out += fmt::format(".TP\n\\fI{}\\fR\n{}\n", argument.name, Roff(argument.help));
    }
    out += ManFlags(command.flags);
    if (!command.examples.empty()) {
      out += fmt::format(".PP\nExamples:\n.nf\n{}\n.fi\n", Roff(command.examples));
    }
  }
  out += ".SH COMMON FLAGS\n" + ManFlags(CommonFlags());
  out += ".SH EXIT STATUS\n" + ManPairs(kExitCodes);
  out += ".SH FILES\n" + ManPairs(kManFiles);
  out +=
      ".SH ENVIRONMENT\nEach flag has a twin, named with it above.\n" + ManPairs(kManEnvironment);
  return out + ".SH SEE ALSO\n\\fBcurl\\fR(1), docs/operating/serve.md, docs/formats/openai.md\n";
}

}  // namespace tradewind::cli
