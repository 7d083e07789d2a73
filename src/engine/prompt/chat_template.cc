#include "engine/prompt/chat_template.h"

#include <utility>

#include <fmt/format.h>

#include "base/utf8.h"
#include "engine/prompt/interpreter.h"
#include "engine/prompt/parser.h"

namespace tradewind::engine {

using prompt::Value;

struct ChatTemplate::Impl {
  prompt::Ast ast;
  std::string bos_token, eos_token;
  prompt::TemplateLimits bounds;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source, std::string bos_token,
                                         std::string eos_token,
                                         const prompt::TemplateLimits& bounds) {
  std::string valid;
  if (!IsValidUtf8(source)) {
    valid = ReplaceInvalidUtf8(source);
    source = valid;
  }
  TW_ASSIGN_OR_RETURN(prompt::Ast ast, prompt::ParseTemplate(source, bounds.depth_max));
  return ChatTemplate(std::make_unique<Impl>(
      Impl{std::move(ast), ReplaceInvalidUtf8(bos_token), ReplaceInvalidUtf8(eos_token), bounds}));
}

namespace {

// A field of the inputs, named in the error when it is not the JSON it should be.
Result<Value> Field(std::string_view json, prompt::Kind kind, std::string_view name,
                    prompt::Budget* budget) {
  auto value = prompt::ValueFromJson(json, budget);
  if (!value.has_value()) {
    Error error = std::move(value).error();
    error.message = fmt::format("{}: {}", name, error.message);
    error.param = name;
    return std::unexpected(std::move(error));
  }
  if (!value->is(kind)) {
    return Fail(
        ErrorCode::kInvalidArgument,
        fmt::format("{} must be {}", name, kind == prompt::Kind::kList ? "an array" : "an object"),
        std::string(name));
  }
  return value;
}

Status SetVariables(const TemplateInputs& inputs, prompt::Run& run, prompt::Scope& root) {
  TW_ASSIGN_OR_RETURN(Value messages,
                      Field(inputs.messages_json, prompt::Kind::kList, "messages", &run.budget));
  Value tools = Value::None();
  if (!inputs.tools_json.empty()) {
    TW_ASSIGN_OR_RETURN(tools, Field(inputs.tools_json, prompt::Kind::kList, "tools", &run.budget));
  }
  if (!inputs.extra_json.empty()) {
    static constexpr std::string_view kParam = "chat_template_kwargs";
    TW_ASSIGN_OR_RETURN(const Value extra,
                        Field(inputs.extra_json, prompt::Kind::kDict, kParam, &run.budget));
    for (const auto& [key, value] : extra.dict().items) {
      const std::string_view name = key.text().view();
      if (name == "messages" || name == "tools" || name == "documents" ||
          name == "add_generation_prompt") {
        return Fail(ErrorCode::kInvalidArgument, fmt::format("{} cannot set '{}'", kParam, name),
                    std::string(kParam));
      }
      root.Set(std::string(name), value);
    }
  }
  root.Set("messages", std::move(messages));
  root.Set("tools", std::move(tools));
  root.Set("documents", Value::None());
  root.Set("add_generation_prompt", Value::Bool(inputs.add_generation_prompt));
  return {};
}

}  // namespace

Result<RenderedPrompt> ChatTemplate::Render(const TemplateInputs& inputs,
                                            const Clock& clock) const {
  prompt::Run run(impl_->bounds, clock);
  const auto root = std::make_shared<prompt::Scope>(&run.budget, nullptr);
  root->Set("bos_token", run.TextOf(impl_->bos_token, true));
  root->Set("eos_token", run.TextOf(impl_->eos_token, true));
  TW_RETURN_IF_ERROR(SetVariables(inputs, run, *root));
  prompt::TextBuilder out(&run.budget);
  TW_RETURN_IF_ERROR(prompt::Interpreter(run, root).Render(impl_->ast.body, out));
  TW_RETURN_IF_ERROR(run.Check());

  RenderedPrompt rendered;
  out.origin().ForEachRun(0, out.size(), [&rendered](size_t begin, size_t end, bool literal) {
    if (literal) {
      rendered.literal_ranges.push_back({begin, end});
    }
  });
  rendered.text = out.TakeBytes();
  return rendered;
}

std::string_view FallbackChatTemplate() {
  return R"({%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content or [] if part.type == 'text' -%}{{- part.text -}}{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
)";
}

}  // namespace tradewind::engine
