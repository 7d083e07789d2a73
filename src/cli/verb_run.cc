// run: one answer, or a chat.
#include <atomic>
#include <cerrno>
#include <signal.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "catalog/model_ref.h"
#include "cli/chat_client.h"
#include "cli/chat_input.h"
#include "cli/home.h"
#include "cli/json_output.h"
#include "cli/model_file.h"
#include "cli/server_link.h"
#include "cli/terminal.h"
#include "cli/verbs.h"

namespace tradewind::cli {
namespace {

constexpr size_t kInputBytesMax = 16 << 20;
constexpr std::string_view kChatHelp =
    "/bye      leave (or Ctrl-D)\n"
    "/clear    forget the conversation\n"
    "/help     this list\n"
    "A line that ends in a backslash goes on. \"\"\" begins and ends a text of several lines. "
    "Ctrl-C stops the answer.\n";

std::atomic<bool> g_interrupted{false};  // lock-free: set by the signal handler

void CatchInterrupts() {
  struct sigaction action{};
  action.sa_handler = [](int) { g_interrupted.store(true); };
  ::sigaction(SIGINT, &action,
              nullptr);  // without SA_RESTART: a read of the terminal ends with EINTR
}

struct Options {
  bool json = false, stats = false, raw = false;
  Progress::Style progress = Progress::Style::kAuto;
  std::string system;
  ChatCall call;
};

// Where answers come from. `private_server` is set when run started it, or found the one it would
// start.
struct Session {
  Endpoint endpoint;
  std::optional<PrivateServer> private_server;
  double load_ms = 0;
};

Result<Options> ReadOptions(const Settings& settings) {
  constexpr int64_t kTokensMax = 1 << 24;
  Options out;
  TW_ASSIGN_OR_RETURN(out.json, settings.Switch("json"));
  TW_ASSIGN_OR_RETURN(out.progress, Progress::ReadStyle(settings, out.json));
  TW_ASSIGN_OR_RETURN(out.stats, settings.Switch("stats"));
  TW_ASSIGN_OR_RETURN(out.raw, settings.Switch("raw"));
  TW_ASSIGN_OR_RETURN(out.call.temperature, settings.Number("temp", 0, 2));
  TW_ASSIGN_OR_RETURN(out.call.top_p, settings.Number("top-p", 0, 1));
  TW_ASSIGN_OR_RETURN(out.call.max_tokens, settings.Integer("max-tokens", 1, kTokensMax));
  TW_ASSIGN_OR_RETURN(out.call.seed, settings.Integer("seed", 0, INT64_MAX));
  out.system = settings.Text("system");
  out.call.raw = out.raw;
  if (out.raw && !out.system.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "--raw sends the prompt as it is; leave --system out or write it into the prompt");
  }
  return out;
}

Result<std::string> ReadStdin() {
  std::string text;
  char bytes[65536];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, bytes, sizeof(bytes));
    if (n == 0) {
      return text;
    }
    if (n < 0 && (errno != EINTR || g_interrupted.load())) {
      return g_interrupted.load()
                 ? Fail(ErrorCode::kCancelled, "interrupted")
                 : Fail(ErrorCode::kIo, "cannot read stdin; give the prompt as an argument");
    }
    text.append(bytes, n > 0 ? static_cast<size_t>(n) : 0);
    if (text.size() > kInputBytesMax) {
      return Fail(ErrorCode::kPayloadTooLarge,
                  fmt::format("stdin has more than {} bytes; send less", kInputBytesMax));
    }
  }
}

// The prompt of a one-shot: words, then stdin's text when that is no terminal. nullopt: nobody gave
// one, so chat.
Result<std::optional<std::string>> ReadPrompt(const Settings& settings) {
  std::string prompt;
  for (const std::string& word : settings.Words(1)) {
    prompt += (prompt.empty() ? "" : " ") + word;
  }
  if (IsTerminal(stdin)) {
    return prompt.empty() ? std::nullopt : std::optional(prompt);
  }
  TW_ASSIGN_OR_RETURN(const std::string text, ReadStdin());
  if (!text.empty()) {
    prompt += (prompt.empty() ? "" : "\n\n") + text;
  }
  if (prompt.empty()) {
    return Fail(
        ErrorCode::kInvalidArgument,
        "there is no prompt and stdin is no terminal to chat on; give a prompt as an argument");
  }
  return ReplaceInvalidUtf8(prompt);
}

// Also the place where a damaged file is noticed before a server is started for it.
Status SampleAsRecommended(const std::filesystem::path& file, Options& options) {
  const auto about = DescribeModel(file);
  TW_RETURN_IF_ERROR(about);
  const std::string taken = UseRecommendedSampling(*about, options.call);
  if (!taken.empty()) {
    fmt::print(stderr, "sampling as the model recommends: {}\n", taken);
  }
  return {};
}

bool Serves(const Endpoint& endpoint, const std::string& id) {
  const auto served = ServedModels(endpoint);
  return served && std::find(served->begin(), served->end(), id) != served->end();
}

// Connects to a private server, starting it if it does not run (any more).
Status StartSession(const Settings& settings, Session& session) {
  const bool runs = FindServer(session.private_server->home).has_value();
  TW_ASSIGN_OR_RETURN(session.endpoint, StartPrivateServer(*session.private_server, settings));
  if (!runs) {
    fmt::print(stderr, "started a private server on {}; it exits after {} without a request\n",
               session.endpoint.Url(), session.private_server->keep);
  } else if (const std::string keep = KeepOf(session.private_server->home);
             !keep.empty() && keep != session.private_server->keep) {
    fmt::print(stderr, "the private server on {} was started with --keep {} and keeps to that\n",
               session.endpoint.Url(), keep);
  }
  return {};
}

// Finds out who answers for REF; fills the model's id into the call.
Result<Session> OpenSession(const Settings& settings, Options& options) {
  const std::string reference = settings.Words(0).front();
  Session session;
  TW_ASSIGN_OR_RETURN(const auto named, NamedEndpoint(settings));
  TW_ASSIGN_OR_RETURN(const catalog::ModelRef ref,
                      catalog::ParseModelRef(reference, catalog::RefSource::kCommandLine));
  if (named) {
    if (ref.is_path) {
      return Fail(ErrorCode::kInvalidArgument,
                  fmt::format("{} is a path, which only a server of this device can load; use a "
                              "model id of {} or unset "
                              "TRADEWIND_HOST and TRADEWIND_PORT",
                              ref.model, named->Url()));
    }
    session.endpoint = *named;
    options.call.model =
        ref.suffix.empty() ? ref.model : fmt::format("{}:{}", ref.model, ref.suffix);
    return session;
  }
  TW_ASSIGN_OR_RETURN(const std::filesystem::path home, HomeFolder(settings));
  const auto running = FindServer(home);
  const auto found = FindModel(settings, reference);
  // The running server may know a model that the settings of this shell do not lead to.
  if (running && !ref.is_path) {
    session.endpoint = EndpointOf(*running, settings);
    const bool as_written = Serves(session.endpoint, ref.model);
    if (as_written || (found && Serves(session.endpoint, found->id))) {
      if (found) {  // a damaged copy here is no reason: the server has its own
        static_cast<void>(SampleAsRecommended(found->path, options));
      }
      options.call.model = !as_written          ? found->id
                           : ref.suffix.empty() ? ref.model
                                                : fmt::format("{}:{}", ref.model, ref.suffix);
      return session;
    }
  }
  TW_ASSIGN_OR_RETURN(const catalog::LocalModel model, found);
  TW_RETURN_IF_ERROR(SampleAsRecommended(model.path, options));
  options.call.model = model.id;
  if (running && !ref.is_path) {
    fmt::print(stderr, "the server on {} does not serve {}\n", session.endpoint.Url(), model.id);
  } else if (running) {
    fmt::print(stderr, "the server on {} serves its own models, not this path\n", running->Url());
  }
  TW_RETURN_IF_ERROR(settings.Duration("keep"));
  const std::string context = settings.Text("ctx"), config = settings.Text("config");
  session.private_server =
      PrivateServer{PrivateHome(home, model.path, context + '\n' + config),
                    std::filesystem::absolute(model.path), settings.Text("keep"), context};
  TW_RETURN_IF_ERROR(StartSession(settings, session));
  return session;
}

Status AwaitReady(Session& session, Progress::Style style) {
  const auto begin = std::chrono::steady_clock::now();
  const auto home =
      session.private_server ? std::optional(session.private_server->home) : std::nullopt;
  TW_RETURN_IF_ERROR(WaitUntilReady(session.endpoint, home, g_interrupted, style));
  session.load_ms = MsBetween(begin, std::chrono::steady_clock::now());
  return {};
}

std::string AnswerJson(const ChatOutcome& outcome, double load_ms) {
  auto json = BeginJson("run");
  json.Field("model", outcome.model).Field("text", outcome.text);
  TextOrNull(json, "finish_reason", outcome.finish_reason);
  FieldOrNull(json, "prompt_tokens", outcome.prompt_tokens);
  FieldOrNull(json, "output_tokens", outcome.output_tokens);
  json.Field("load_ms", load_ms);
  FieldOrNull(json, "prefill_ms", outcome.prefill_ms);
  FieldOrNull(json, "decode_ms", outcome.decode_ms);
  FieldOrNull(json, "output_tokens_per_s", outcome.output_tokens_per_s);
  FieldOrNull(json, "first_token_ms",
              outcome.first_token_ms > 0 ? std::optional(outcome.first_token_ms) : std::nullopt);
  json.Field("total_ms", outcome.total_ms);
  FieldOrNull(
      json, "cost_nanousd",
      outcome.cost_nanousd ? std::optional(std::to_string(*outcome.cost_nanousd)) : std::nullopt);
  json.Field("currency", "USD");
  return EndJson(json);
}

// Asks once and prints the answer as it comes.
Result<ChatOutcome> Ask(const Settings& settings, const Session& session, const Options& options) {
  const bool terminal = IsTerminal(stdout);
  // Short as a rule: for people and programs that watch, not for logs.
  Progress progress(options.progress == Progress::Style::kAuto && !IsTerminal(stderr)
                        ? Progress::Style::kNone
                        : options.progress);
  progress.Show("reading the prompt");
  auto outcome =
      StreamChat(session.endpoint, options.call, g_interrupted, [&](std::string_view text) {
        progress.Clear();
        if (!options.json) {
          Print(terminal ? WithoutControls(text) : text);
          std::fflush(stdout);
        }
      });
  progress.Clear();
  if (outcome && !options.json && !outcome->text.ends_with('\n')) {
    Print("\n");
    std::fflush(stdout);
  }
  if (outcome && !outcome->interrupted && outcome->finish_reason == "length") {
    fmt::print(stderr, "(cut: --max-tokens or the context is used up)\n");
  }
  const bool as_operator =
      !settings.environment()("TRADEWIND_TOKEN").has_value() && !session.endpoint.token.empty();
  if (!outcome && as_operator && outcome.error().code == ErrorCode::kPermissionDenied) {
    outcome.error().message +=
        " It is the admin token, which asks the model on this device alone; set TRADEWIND_TOKEN "
        "to one that `tradewind keys create --name NAME` prints";
  }
  return outcome;
}

Result<ExitCode> RunOnce(const Settings& settings, Options& options, std::string prompt) {
  TW_ASSIGN_OR_RETURN(Session session, OpenSession(settings, options));
  TW_RETURN_IF_ERROR(AwaitReady(session, options.progress));
  options.call.prompt = prompt;
  if (!options.system.empty()) {
    options.call.turns.push_back({"system", options.system});
  }
  options.call.turns.push_back({"user", std::move(prompt)});
  TW_ASSIGN_OR_RETURN(const ChatOutcome outcome, Ask(settings, session, options));
  if (outcome.interrupted) {
    return ExitCode::kInterrupted;
  }
  if (options.json) {
    Print(AnswerJson(outcome, session.load_ms));
  }
  if (options.stats) {
    fmt::print(stderr, "{}\n", FormatStats(outcome, session.load_ms));
  }
  return ExitCode::kDone;
}

// One question of a chat and its answer. A failed or empty one leaves the conversation as it was.
Status AnswerInChat(const Settings& settings, Session& session, Options& options,
                    std::string message) {
  if (session.private_server && !FindServer(session.private_server->home)) {
    TW_RETURN_IF_ERROR(StartSession(settings, session));
    TW_RETURN_IF_ERROR(AwaitReady(session, options.progress));
  }
  options.call.prompt = message;
  options.call.turns.push_back({"user", std::move(message)});
  const auto outcome = Ask(settings, session, options);
  if (!outcome || outcome->text.empty()) {
    options.call.turns.pop_back();
    TW_RETURN_IF_ERROR(outcome);
    return {};
  }
  options.call.turns.push_back({"assistant", outcome->text});
  if (options.stats && !outcome->interrupted) {
    fmt::print(stderr, "{}\n", FormatStats(*outcome, session.load_ms));
  }
  session.load_ms = 0;
  return {};
}

void ClearConversation(Options& options) {
  options.call.turns.clear();
  if (!options.system.empty()) {
    options.call.turns.push_back({"system", options.system});
  }
}

// False: leave.
bool ObeyCommand(const std::string& command, Options& options) {
  if (command == "bye" || command == "exit" || command == "quit") {
    return false;
  }
  if (command == "clear") {
    ClearConversation(options);
    fmt::print(stderr, "forgotten\n");
  } else if (command == "help" || command == "?") {
    fmt::print(stderr, "{}", kChatHelp);
  } else {
    fmt::print(stderr, "there is no command /{}; /help lists them\n", WithoutControls(command));
  }
  return true;
}

Result<ExitCode> RunInteractive(const Settings& settings, Options& options) {
  if (options.json) {
    return Fail(ErrorCode::kInvalidArgument,
                "--json needs a prompt; give one as an argument or on stdin");
  }
  TW_ASSIGN_OR_RETURN(Session session, OpenSession(settings, options));
  TW_RETURN_IF_ERROR(AwaitReady(session, options.progress));
  fmt::print(stderr, "{} on {}; /help lists the commands\n", options.call.model,
             session.endpoint.Url());
  ClearConversation(options);
  LineReader lines;
  ChatInput input;
  while (true) {
    g_interrupted.store(false);
    fmt::print(stderr, "{}", input.is_pending() ? "... " : ">>> ");
    std::string line;
    const auto read = lines.Read(line);
    if (read == LineReader::Outcome::kInterrupted) {
      input.Reset();
      fmt::print(stderr, "\n(/bye or Ctrl-D leaves)\n");
      continue;
    }
    const auto entry = read == LineReader::Outcome::kEnd ? input.End() : input.Push(line);
    if (entry.kind == ChatInput::Kind::kTooLong) {
      fmt::print(stderr, "that is too long for one message; it was dropped\n");
    } else if (entry.kind == ChatInput::Kind::kCommand && !ObeyCommand(entry.text, options)) {
      return ExitCode::kDone;
    } else if (entry.kind == ChatInput::Kind::kMessage) {
      const Status answered =
          AnswerInChat(settings, session, options, ReplaceInvalidUtf8(entry.text));
      if (!answered && answered.error().code != ErrorCode::kCancelled) {
        fmt::print(stderr, "tradewind: {}\n", WithoutControls(answered.error().message));
      }
    }
    if (read == LineReader::Outcome::kEnd) {
      fmt::print(stderr, "\n");
      return ExitCode::kDone;
    }
  }
}

}  // namespace

Result<ExitCode> RunChat(const Settings& settings) {
  TW_ASSIGN_OR_RETURN(Options options, ReadOptions(settings));
  CatchInterrupts();
  TW_ASSIGN_OR_RETURN(std::optional<std::string> prompt, ReadPrompt(settings));
  return prompt ? RunOnce(settings, options, std::move(*prompt))
                : RunInteractive(settings, options);
}

}  // namespace tradewind::cli
