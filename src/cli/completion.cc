#include <fmt/format.h>

#include "cli/help.h"

namespace tradewind::cli {
namespace {

std::string VisibleVerbs() {
  std::string out;
  for (const Command& command : Commands()) {
    if (!command.hidden) {
      out += fmt::format("{}{}", out.empty() ? "" : " ", command.name);
    }
  }
  return out;
}

// Words for `offer`, or a command that prints them.
std::string BashOffer(Offer offer, std::string_view choices) {
  switch (offer) {
    case Offer::kModel:
      return "COMPREPLY=($(compgen -W \"$(tradewind __complete models \"$cur\" 2>/dev/null)\" -- "
             "\"$cur\")); _tradewind_files '*.gguf'";
    case Offer::kShell:
      return "COMPREPLY=($(compgen -W 'bash zsh fish' -- \"$cur\"))";
    case Offer::kVerb:
      return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", VisibleVerbs());
    case Offer::kFile:
      return "COMPREPLY=(); _tradewind_files '*'";
    case Offer::kChoice:
      return fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$cur\"))", choices);
    case Offer::kNothing:
      break;
  }
  return "COMPREPLY=()";
}

std::string Bash() {
  // Folders end in a slash and no space follows them, so that the next Tab goes on inside.
  std::string out =
      "# bash completion for tradewind\n"
      "_tradewind_files() {\n  local path\n"
      "  while IFS= read -r path; do\n"
      "    if [ -d \"$path\" ]; then COMPREPLY+=(\"$path/\")\n"
      "    elif [[ $path == $1 ]]; then COMPREPLY+=(\"$path\"); fi\n"
      "  done < <(compgen -f -- \"$cur\")\n"
      "  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then compopt -o nospace "
      "2>/dev/null; fi\n}\n"
      "_tradewind() {\n"
      "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" "
      "verb=\"${COMP_WORDS[1]}\"\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '" +
      VisibleVerbs() +
      "' -- \"$cur\"))\n    return\n  fi\n"
      "  case \"$verb\" in\n";
  for (const Command& command : Commands()) {
    if (command.hidden) {
      continue;
    }
    std::string names, values;
    for (const auto flags : {command.flags, CommonFlags()}) {
      for (const Flag& flag : flags) {
        names += fmt::format(" --{}", flag.name);
        if (!flag.value.empty()) {
          values += fmt::format("        --{}) {}; return ;;\n", flag.name,
                                BashOffer(flag.offer, flag.choices));
        }
      }
    }
    const Argument first = command.arguments.empty() ? Argument{} : command.arguments[0];
    out += fmt::format(
        "    {})\n      case \"$prev\" in\n{}      esac\n"
        "      if [[ \"$cur\" == -* ]]; then COMPREPLY=($(compgen -W '{}' -- \"$cur\")); return; "
        "fi\n"
        "      {} ;;\n",
        command.name, values, names.substr(1), BashOffer(first.offer, first.choices));
  }
  return out + "  esac\n}\ncomplete -F _tradewind tradewind\n";
}

std::string ZshQuoted(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else if (c == '[' || c == ']' || c == ':') {
      out += fmt::format("\\{}", c);
    } else {
      out += c;
    }
  }
  return out;
}

std::string ZshOffer(Offer offer, std::string_view choices) {
  switch (offer) {
    case Offer::kModel:
      return "_tradewind_models";
    case Offer::kShell:
      return "(bash zsh fish)";
    case Offer::kVerb:
      return fmt::format("({})", VisibleVerbs());
    case Offer::kFile:
      return "_files";
    case Offer::kChoice:
      return fmt::format("({})", choices);
    case Offer::kNothing:
      break;
  }
  return " ";
}

std::string Zsh() {
  std::string out =
      "#compdef tradewind\n_tradewind_models() {\n  compadd -- ${(f)\"$(tradewind __complete "
      "models \"$PREFIX\" 2>/dev/null)\"}\n"
      "  _files -g '*.gguf'\n}\n_tradewind() {\n  if (( CURRENT == 2 )); then\n    local -a "
      "verbs=(\n";
  for (const Command& command : Commands()) {
    if (!command.hidden) {
      out += fmt::format("      '{}:{}'\n", command.name, ZshQuoted(command.summary));
    }
  }
  out +=
      "    )\n    _describe verb verbs\n    return\n  fi\n  local verb=$words[2]\n  shift words\n  "
      "(( CURRENT-- ))\n  case $verb in\n";
  for (const Command& command : Commands()) {
    if (command.hidden) {
      continue;
    }
    out += fmt::format("    {}) _arguments", command.name);
    for (const auto flags : {command.flags, CommonFlags()}) {
      for (const Flag& flag : flags) {
        out += fmt::format(" \\\n      '--{}[{}]{}'", flag.name, ZshQuoted(flag.help),
                           flag.value.empty() ? ""
                                              : fmt::format(":{}:{}", ZshQuoted(flag.value),
                                                            ZshOffer(flag.offer, flag.choices)));
      }
    }
    for (const Argument& argument : command.arguments) {
      out += fmt::format(" \\\n      '{}:{}:{}'", argument.repeated ? "*" : "", argument.name,
                         ZshOffer(argument.offer, argument.choices));
    }
    out += " ;;\n";
  }
  return out +
         "  esac\n}\nif [ \"$funcstack[1]\" = _tradewind ]; then _tradewind \"$@\"; else compdef "
         "_tradewind tradewind; fi\n";
}

std::string FishQuoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    out += c == '\'' || c == '\\' ? fmt::format("\\{}", c) : std::string(1, c);
  }
  return out + "'";
}

std::string FishOffer(Offer offer, std::string_view choices) {
  switch (offer) {
    case Offer::kModel:
      return " -a '(tradewind __complete models (commandline -ct) 2>/dev/null)' -F";
    case Offer::kShell:
      return " -f -a 'bash zsh fish'";
    case Offer::kVerb:
      return fmt::format(" -f -a {}", FishQuoted(VisibleVerbs()));
    case Offer::kFile:
      return " -F";
    case Offer::kChoice:
      return fmt::format(" -f -a {}", FishQuoted(choices));
    case Offer::kNothing:
      break;
  }
  return " -f";
}

std::string Fish() {
  std::string out = "# fish completion for tradewind\n";
  for (const Command& command : Commands()) {
    if (command.hidden) {
      continue;
    }
    out += fmt::format("complete -c tradewind -n __fish_use_subcommand -f -a {} -d {}\n",
                       command.name, FishQuoted(command.summary));
    const std::string seen =
        fmt::format("complete -c tradewind -n '__fish_seen_subcommand_from {}'", command.name);
    for (const auto flags : {command.flags, CommonFlags()}) {
      for (const Flag& flag : flags) {
        out +=
            fmt::format("{} -l {} -d {}{}\n", seen, flag.name, FishQuoted(flag.help),
                        flag.value.empty() ? " -f" : " -r" + FishOffer(flag.offer, flag.choices));
      }
    }
    const Argument first = command.arguments.empty() ? Argument{} : command.arguments[0];
    out += fmt::format("{}{}\n", seen, FishOffer(first.offer, first.choices));
  }
  return out;
}

}  // namespace

Result<std::string> CompletionScript(std::string_view shell) {
  if (shell == "bash") {
    return Bash();
  }
  if (shell == "zsh") {
    return Zsh();
  }
  if (shell == "fish") {
    return Fish();
  }
  return Fail(ErrorCode::kInvalidArgument,
              fmt::format("there is no completion for \"{}\"; choose bash, zsh or fish",
                          shell.substr(0, 40)),
              "SHELL");
}

}  // namespace tradewind::cli
