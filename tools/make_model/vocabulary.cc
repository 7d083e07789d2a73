#include "make_model/vocabulary.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/utf8.h"

namespace tradewind::make_model {
namespace {

constexpr int32_t kNormal = 1, kControl = 3;
constexpr int64_t kSpecialMax = 1000;
constexpr int kLetters = 26;
constexpr size_t kSplitsMax = 2;  // merges for a token; Tekken has 2.07 each

struct NamedToken {
  int64_t id;
  const char* name;
};
constexpr std::array kNamed = {
    NamedToken{0, "<unk>"},
    NamedToken{1, "<s>"},
    NamedToken{2, "</s>"},
    NamedToken{3, "[INST]"},
    NamedToken{4, "[/INST]"},
    NamedToken{5, "[AVAILABLE_TOOLS]"},
    NamedToken{6, "[/AVAILABLE_TOOLS]"},
    NamedToken{7, "[TOOL_RESULTS]"},
    NamedToken{8, "[/TOOL_RESULTS]"},
    NamedToken{9, "[TOOL_CALLS]"},
    NamedToken{10, "[IMG]"},
    NamedToken{11, "<pad>"},
    NamedToken{12, "[IMG_BREAK]"},
    NamedToken{13, "[IMG_END]"},
    NamedToken{14, "[PREFIX]"},
    NamedToken{15, "[MIDDLE]"},
    NamedToken{16, "[SUFFIX]"},
    NamedToken{17, "[SYSTEM_PROMPT]"},
    NamedToken{18, "[/SYSTEM_PROMPT]"},
    NamedToken{19, "[TOOL_CONTENT]"},
    NamedToken{32, "[ARGS]"},
    NamedToken{33, "[CALL_ID]"},
};

// The character that stands for a byte: itself where it prints, else the next from U+0100 on.
std::string ByteCharacter(int byte) {
  const auto prints = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  };
  int code = byte;
  if (!prints(byte)) {
    code = 0x100;
    for (int b = 0; b < byte; ++b) {
      code += prints(b) ? 0 : 1;
    }
  }
  std::string text;
  AppendUtf8(static_cast<char32_t>(code), text);
  return text;
}

// Adds the word number `index` of `length` letters, after an optional space: its token, and the
// merges of the words that it is made of. All shorter words are there already.
void AddWord(bool space, int length, int64_t index, MadeUpVocabulary& out) {
  std::vector<std::string> parts;
  for (int i = 0; i < length; ++i, index /= kLetters) {
    parts.insert(parts.begin(), std::string(1, static_cast<char>('a' + index % kLetters)));
  }
  if (space) {
    parts.insert(parts.begin(), ByteCharacter(' '));
  }
  std::string word;
  for (const std::string& part : parts) {
    word += part;
  }
  std::string left;
  for (size_t i = 0; i + 1 < std::min(parts.size(), kSplitsMax + 1); ++i) {
    left += parts[i];
    out.merges.push_back(left + " " + word.substr(left.size()));
  }
  out.tokens.push_back(std::move(word));
}

}  // namespace

MadeUpVocabulary MakeVocabulary(int64_t size) {
  TW_CHECK(size >= 512 && size <= 1 << 18);
  MadeUpVocabulary out;
  const int64_t special = std::clamp<int64_t>(size / 8, 40, kSpecialMax);
  for (int64_t i = 0; i < special; ++i) {
    out.tokens.push_back(fmt::format("<SPECIAL_{}>", i));
  }
  for (const NamedToken& named : kNamed) {
    out.tokens[static_cast<size_t>(named.id)] = named.name;
  }
  out.types.assign(static_cast<size_t>(special), kControl);
  for (int byte = 0; byte < 256; ++byte) {
    out.tokens.push_back(ByteCharacter(byte));
  }
  const auto left = [&] { return size - static_cast<int64_t>(out.tokens.size()); };
  int64_t words = kLetters;
  for (int length = 1; left() > 0; ++length, words *= kLetters) {
    for (int64_t i = 0; length > 1 && i < words && left() > 0; ++i) {
      AddWord(false, length, i, out);
    }
    for (int64_t i = 0; i < words && left() > 0; ++i) {
      AddWord(true, length, i, out);
    }
  }
  out.types.resize(out.tokens.size(), kNormal);
  return out;
}

std::string MadeUpChatTemplate() {
  return "{{ bos_token }}{% for message in messages %}"
         "{% if message.role == 'system' %}"
         "[SYSTEM_PROMPT]{{ message.content }}[/SYSTEM_PROMPT]"
         "{% elif message.role == 'assistant' %}{{ message.content }}{{ eos_token }}"
         "{% else %}[INST]{{ message.content }}[/INST]{% endif %}{% endfor %}";
}

}  // namespace tradewind::make_model
