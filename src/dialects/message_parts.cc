#include "dialects/message_parts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/text.h"
#include "dialects/billed_apart.h"
#include "dialects/picture_marks.h"
#include "dialects/rewritten.h"

namespace tradewind::dialects {
namespace {

// All of their text is in the request.
constexpr std::array<std::string_view, 7> kTextTypes = {
    "text", "input_text", "output_text", "refusal", "thinking", "reasoning", "reference"};
constexpr std::array<std::string_view, 3> kImageTypes = {"image_url", "input_image", "image"};
constexpr std::string_view kSoundType = "input_audio";
constexpr std::array<std::string_view, 4> kSchemaKeys = {"parameters", "input_schema", "schema",
                                                         "properties"};
constexpr std::array<std::string_view, 4> kTextKeys = {"text", "content", "refusal", "thinking"};
constexpr std::array<std::string_view, 3> kDataKeys = {"url", "image_url", "file_data"};
// What templates write anew, with the arguments as JSON.
constexpr std::array<std::string_view, 2> kCallKeys = {"tool_calls", "function_call"};
// LMDeploy's, in a part or its `image_url`: into how many tiles InternVL cuts the picture.
constexpr std::string_view kTilesKey = "max_dynamic_patch";
// What LiteLLM and others take for what they name, whatever the part says that it is.
constexpr std::array<std::string_view, 3> kPictureKeys = {"url", "image_url", "image"};
constexpr std::array<std::string_view, 3> kFormatKeys = {"format", "mime_type", "media_type"};
constexpr std::array<std::string_view, 10> kPictureFormats = {
    "png", "jpg", "jpeg", "webp", "gif", "bmp", "tiff", "heic", "heif", "avif"};
// Ends of addresses of documents, films and sound, which some adapters hand on as such.
constexpr std::array<std::string_view, 35> kOtherEnds = {
    "pdf",  "doc", "docx", "ppt", "pptx", "xls", "xlsx", "odt", "rtf", "epub", "txt",  "md",
    "csv",  "htm", "html", "xml", "json", "mp4", "m4v",  "mov", "avi", "mkv",  "webm", "mpg",
    "mpeg", "wmv", "flv",  "3gp", "mp3",  "wav", "m4a",  "aac", "ogg", "flac", "opus"};
constexpr size_t kUrlBytesMax = 8192;
constexpr size_t kNameBytesMax = 64;  // of an error's words
constexpr std::string_view kUsualTtl = "5m";
// Qwen-Long's: the text is one of files that lie at the provider.
constexpr std::string_view kFileText = "fileid://";

template <size_t N>
bool IsOneOf(const std::array<std::string_view, N>& all, std::string_view one) {
  return std::ranges::find(all, one) != all.end();
}

// The inside of a JSON string that names something; its letters may be written as \u0061.
std::string NameOf(std::string_view raw) {
  std::string name;
  raw = raw.substr(0, kNameBytesMax * 6);
  while (!raw.empty()) {
    unsigned code = 0;
    const std::string_view digits = raw.substr(std::min<size_t>(2, raw.size()), 4);
    if (raw.starts_with("\\u") && digits.size() == 4 &&
        std::from_chars(digits.data(), digits.data() + 4, code, 16).ptr == digits.data() + 4 &&
        code < 0x80) {
      name += static_cast<char>(code);
      raw.remove_prefix(6);
    } else {
      name += raw.front();
      raw.remove_prefix(1);
    }
  }
  name.resize(std::min(name.size(), kNameBytesMax));
  return name;
}

// The inside of a JSON string, as far as names and addresses go: its \/ and \u0061 as letters.
std::string Unescaped(std::string_view raw) {
  std::string text;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '\\' && i + 1 < raw.size()) {
      if (raw[i + 1] == 'u') {
        text += NameOf(raw.substr(i, 6));
        i += 5;
        continue;
      }
      ++i;
    }
    text += raw[i];
  }
  return AsciiLower(text);
}

// Whether what stands there is a picture, as far as its address says: one to be fetched, not named
// as something else at its end; or data of a picture.
bool MayBePicture(std::string_view raw) {
  if (const std::string head = Unescaped(raw.substr(0, kNameBytesMax)); head.starts_with("data:")) {
    return head.starts_with("data:image/");
  }
  if (raw.size() > kUrlBytesMax) {
    return false;
  }
  const std::string url = Unescaped(raw);
  const size_t host = url.starts_with("https://")  ? std::string_view("https://").size()
                      : url.starts_with("http://") ? std::string_view("http://").size()
                                                   : std::string::npos;
  if (host == std::string::npos) {
    return false;
  }
  const std::string_view path =
      std::string_view(url).substr(0, std::min(url.find_first_of("?#"), url.size()));
  const size_t slash = path.rfind('/'), dot = path.rfind('.');
  if (slash == std::string_view::npos || slash < host || dot == std::string_view::npos ||
      dot < slash) {
    return true;  // without a name's end
  }
  return !IsOneOf(kOtherEnds, path.substr(dot + 1));
}

bool IsPictureFormat(std::string_view raw) {
  const std::string format = Unescaped(raw.substr(0, kNameBytesMax));
  return format.empty() || format.starts_with("image/") || IsOneOf(kPictureFormats, format);
}

// Errors name it: no controls, and no character that was cut in half.
bool IsPlain(std::string_view name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

// What asks a provider to keep a prompt, in Anthropic's words, in Bedrock's, and in those of a
// proxy that puts it in; some read names whatever their case is.
bool IsCacheName(std::string_view name) {
  if (name.size() < std::string_view("cachePoint").size() || (name[0] | 0x20) != 'c') {
    return false;  // nearly all of them
  }
  std::string plain = AsciiLower(name);
  std::erase(plain, '_');
  return plain.starts_with("cachecontrol") || plain.starts_with("cachepoint");
}

// Whether something may have these three letters in its name, however they are written. Without a
// branch for each byte: it looks at all tools of a request.
bool MayName(std::string_view letters, std::string_view json) {
  const auto apart = [](char is, char wanted) { return static_cast<uint8_t>(is ^ wanted); };
  const auto lower = [](char c) { return static_cast<char>(c | 0x20); };
  unsigned found = 0;
  for (size_t i = 0; i + 2 < json.size(); ++i) {
    const auto name = apart(lower(json[i]), letters[0]) | apart(lower(json[i + 1]), letters[1]) |
                      apart(lower(json[i + 2]), letters[2]);
    const auto escape = apart(json[i], '\\') | apart(json[i + 1], 'u');
    found |= (name == 0 ? 1U : 0U) | (escape == 0 ? 1U : 0U);
  }
  return found != 0;
}

class Walk {
 public:
  // `in_cache`: it is what a name of IsCacheName stands for.
  explicit Walk(std::string_view json, bool in_cache = false) : json_(json), in_cache_(in_cache) {}

  MessageParts Run() {
    while (at_ < json_.size()) {
      const char c = json_[at_];
      if (c == '"') {
        String();
        continue;
      }
      if (c == '{' || c == '[') {
        Enter(c == '{');
      } else if (c == '}' || c == ']') {
        Leave();
      } else if (c == ',' && !levels_.empty()) {
        ++levels_.back().index;
      } else if (c != ':' && c != ',' && c != ' ' && c != '\n' && c != '\r' && c != '\t') {
        Value({}, c != 'n');  // a number, true, false, or null
        while (at_ + 1 < json_.size() && IsWordChar(json_[at_ + 1])) {
          ++at_;
        }
      }
      ++at_;
    }
    parts_.named_pictures += marks_.count();
    return std::move(parts_);
  }

 private:
  struct Level {
    bool is_object = false;
    std::string key = {};   // of the value that comes next
    size_t index = 0;       // of that value
    bool in_cache = false;  // of what IsCacheName names, or inside of it
    // Of a function's parameters: their names are the client's own.
    bool in_schema = false;
  };

  static bool IsWordChar(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '+' || c == '-' ||
           c == 'E';
  }
  bool is_in_part() const { return part_depth_ > 0; }
  bool is_of_message() const {
    return levels_.size() == 2 && levels_[1].is_object && !levels_[0].is_object;
  }

  // A name, or a value; at_ goes behind it.
  void String() {
    const size_t begin = at_ + 1;
    size_t end = begin;
    while (true) {
      end = std::min(json_.find('"', end), json_.size());
      size_t slashes = 0;
      while (end - slashes > begin && json_[end - slashes - 1] == '\\') {
        ++slashes;
      }
      if (slashes % 2 == 0 || end == json_.size()) {
        break;
      }
      ++end;
    }
    const std::string_view raw = json_.substr(begin, end - begin);
    at_ = std::min(json_.find_first_not_of(" \t\r\n", end + 1), json_.size());
    if (at_ < json_.size() && json_[at_] == ':' && !levels_.empty()) {
      levels_.back().key = NameOf(raw);
      NoteAlone(raw);
      if (is_in_part() && levels_.size() == part_depth_) {
        NoteName(levels_.back().key);
      } else if (is_of_message()) {
        NoteFieldName(levels_.back().key);
      }
      if (is_in_part() && levels_.back().key == kTilesKey) {
        NoteUnbounded(kTilesKey);
      }
    } else {
      Value(raw, true);
    }
  }

  // A message that was spoken stands by its id; its sound is input again.
  void NoteSpoken() { parts_.sounds += is_of_message() && levels_[1].key == "audio" ? 1 : 0; }

  void NoteUnbounded(std::string_view name) {
    if (parts_.unbounded.empty()) {
      parts_.unbounded = name;
    }
  }

  void NoteCache(bool is_something) {
    parts_.wants_cache |=
        is_something && !levels_.back().in_schema && IsCacheName(levels_.back().key);
  }

  // Of a string: those of messages are joined in the prompt, others stand alone in it.
  void NoteText(std::string_view raw) {
    const std::string& key = levels_.back().key;
    const bool is_text = IsOneOf(kTextKeys, key);
    if (is_text && (raw.starts_with(kFileText[0]) || raw.starts_with('\\')) &&
        Unescaped(raw.substr(0, kNameBytesMax)).starts_with(kFileText)) {
      NoteUnbounded(kFileText);
    }
    if (is_text) {
      marks_.Read(raw);
    } else {
      NoteAlone(raw);
    }
  }
  void NoteAlone(std::string_view raw) {
    PictureMarks marks;
    marks.Read(raw);
    parts_.named_pictures += marks.count();
  }

  // Of a message, beside its content.
  void NoteMessageField() {
    if (is_of_message() && IsMessageFieldBilledApart(levels_[1].key)) {
      NoteUnbounded(CaseFolded(levels_[1].key));
    }
  }

  // Of a prompt that is kept. A `ttl` that is not understood may be any.
  void NoteTtl(std::string_view text, bool is_something) {
    if (is_something && levels_.back().in_cache && AsciiLower(levels_.back().key) == "ttl" &&
        NameOf(text) != kUsualTtl) {
      parts_.wants_long_cache = true;
    }
  }

  void Value(std::string_view text, bool is_something) {
    if (is_something) {
      NoteSpoken();
    }
    if (!text.empty()) {
      NoteMessageField();
    }
    if (!levels_.empty()) {
      NoteTtl(text, is_something);
      NoteCache(is_something);
      NoteText(text);
    }
    if (levels_.empty() || !is_in_part()) {
      return;
    }
    const std::string& key = levels_.back().key;
    if (text.starts_with("data:") && IsOneOf(kDataKeys, key)) {
      parts_.data_url_bytes += text.size();
      if (text.starts_with("data:image/")) {
        picture_bytes_ = std::max(picture_bytes_, text.size());
      }
    }
    if (is_something && !text.empty()) {
      is_other_ |= (IsOneOf(kPictureKeys, key) && !MayBePicture(text)) ||
                   (IsOneOf(kFormatKeys, key) && !IsPictureFormat(text));
    }
    if (levels_.size() != part_depth_) {
      return;
    }
    if (key == "type") {
      type_ = NameOf(text);
    } else if (is_something) {
      Note(key);
    }
  }

  // Of two types one server takes the first, another the last, and some read `Type` as `type`.
  void NoteName(std::string_view name) {
    if (CaseFolded(name) != "type" || std::exchange(has_type_, true) == false ||
        !parts_.ambiguous.empty()) {
      return;
    }
    parts_.ambiguous = fmt::format("messages[{}].content", levels_[0].index);
    if (part_depth_ == 4) {
      parts_.ambiguous += fmt::format("[{}]", levels_[2].index);
    }
    parts_.ambiguous += ".type";
  }

  // Of a message. Pictures under a name that is not looked into are priced by nobody.
  void NoteFieldName(std::string_view name) {
    const std::string folded = CaseFolded(name);
    if (folded != name && (folded == "content" || folded == "audio") && parts_.ambiguous.empty()) {
      parts_.ambiguous = fmt::format("messages[{}].{}", levels_[0].index, folded);
    }
  }

  // A member of the part that is not null.
  void Note(const std::string& key) {
    has_image_ |= IsOneOf(kImageTypes, key);
    if (odd_.empty() && !IsOneOf(kTextKeys, key) && !IsOneOf(kImageTypes, key)) {
      odd_ = key;
    }
  }

  bool IsEmptyHere() const {
    const size_t next = json_.find_first_not_of(" \t\r\n", at_ + 1);
    return next != std::string_view::npos && (json_[next] == ']' || json_[next] == '}');
  }

  void Enter(bool is_object) {
    NoteSpoken();
    if (!IsEmptyHere()) {
      NoteMessageField();
    }
    if (is_of_message() && IsOneOf(kCallKeys, CaseFolded(levels_[1].key))) {
      parts_.rewritten_growth += RewrittenGrowth(json_.substr(at_), /*parses_strings=*/true);
    }
    const bool in_schema =
        !levels_.empty() && (levels_.back().in_schema || IsOneOf(kSchemaKeys, levels_.back().key));
    const bool in_cache =
        !in_schema &&
        (levels_.empty() ? in_cache_ : levels_.back().in_cache || IsCacheName(levels_.back().key));
    if (!levels_.empty()) {
      NoteTtl({}, true);
      NoteCache(!IsEmptyHere());
    }
    if (levels_.size() == part_depth_ && is_in_part()) {
      Note(levels_.back().key);
    }
    // Of an array of messages: an object in the array of a message's content, or instead of it.
    const bool is_content =
        levels_.size() >= 2 && levels_[1].is_object && levels_[1].key == "content";
    if (is_object && is_content && !is_in_part() &&
        (levels_.size() == 2 || (levels_.size() == 3 && !levels_[2].is_object))) {
      part_depth_ = levels_.size() + 1;
      type_.clear();
      odd_.clear();
      has_image_ = has_type_ = is_other_ = false;
      picture_bytes_ = 0;
    }
    levels_.push_back({is_object, {}, 0, in_cache, in_schema});
  }

  void Leave() {
    if (is_in_part() && levels_.size() == part_depth_) {
      EndPart();
      part_depth_ = 0;
    }
    if (!levels_.empty()) {
      levels_.pop_back();
    }
  }

  void EndPart() {
    // Without a type some servers go by the names.
    const bool is_image = type_.empty() ? has_image_ : IsOneOf(kImageTypes, type_);
    parts_.images += is_image ? 1 : 0;
    if (is_image && is_other_) {
      NoteUnbounded(type_.empty() ? kImageTypes[0] : std::string_view(type_));
    }
    parts_.picture_bytes += is_image ? picture_bytes_ : 0;
    const bool is_sound = type_ == kSoundType;
    parts_.sounds += is_sound ? 1 : 0;
    if (!is_image && !is_sound && !IsOneOf(kTextTypes, type_)) {
      const std::string& kind = type_.empty() ? odd_ : type_;
      NoteUnbounded(kind.empty() || IsPlain(kind) ? std::string_view(kind) : "content");
    }
  }

  const std::string_view json_;
  const bool in_cache_;
  size_t at_ = 0;
  std::vector<Level> levels_;
  size_t part_depth_ = 0;  // of the part that is walked over; 0: none
  std::string type_, odd_;
  bool has_image_ = false, has_type_ = false;
  bool is_other_ = false;     // its address or its format is no picture's
  size_t picture_bytes_ = 0;  // of its longest picture
  PictureMarks marks_;
  MessageParts parts_;
};

}  // namespace

MessageParts ReadParts(std::string_view messages) {
  return Walk(messages).Run();
}

bool WantsCache(std::string_view name, std::string_view value) {
  return (IsCacheName(NameOf(name)) && !SaysNothing(value)) ||
         (MayName("cac", value) && Walk(value).Run().wants_cache);
}

bool WantsLongCache(std::string_view name, std::string_view value) {
  return MayName("ttl", value) && Walk(value, IsCacheName(NameOf(name))).Run().wants_long_cache;
}

}  // namespace tradewind::dialects
