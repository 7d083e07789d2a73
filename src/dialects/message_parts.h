// What parts the messages of a chat are made of, without a tree of them: a picture of 5 MB is
// walked over, not copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tradewind::dialects {

struct MessageParts {
  int64_t images = 0;
  int64_t sounds = 0;  // parts of OpenAI's type `input_audio`, and spoken answers that are named
  size_t data_url_bytes = 0;  // of pictures and sound inside of the messages, which are no text
  // Of these: of the picture of each part that counts as one. What a URL of another kind, or a
  // second one in the same part, comes to is not known.
  size_t picture_bytes = 0;
  // A kind of part whose size is not in the request, so that nothing bounds what a provider bills
  // of it: video, other sound, files, whatever is not known; or a field of a message that holds
  // media beside its content. "" = none.
  std::string unbounded;
  int64_t named_pictures = 0;    // in its texts (picture_marks.h)
  int64_t rewritten_growth = 0;  // of calls of tools (RewrittenGrowth)
  // A `cache_control` somewhere in it asks that its text be kept; for longer than five minutes.
  bool wants_cache = false;
  bool wants_long_cache = false;
  // A part with more than one type, "messages[0].content[1].type", or content under another name's
  // letters, "messages[0].content": what is asked depends on who reads it. "" = none.
  std::string ambiguous;
};

// `messages` is JSON that was parsed as part of its request; anything else reads as no parts.
MessageParts ReadParts(std::string_view messages);

// The same questions of any other field of a request, such as its tools. `name` is the field's.
bool WantsCache(std::string_view name, std::string_view value);
bool WantsLongCache(std::string_view name, std::string_view value);

}  // namespace tradewind::dialects
