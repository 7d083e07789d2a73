// Style that reviews itself: who may include whom, how long functions and files may be, what every
// folder carries. design: ARCHITECTURE.md has the same table in words.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace {

namespace fs = std::filesystem;

const fs::path kSource = fs::path(TW_SOURCE_DIR) / "src";
constexpr size_t kFunctionLinesWarn = 70;
constexpr size_t kFunctionLinesMax = 120;
constexpr size_t kFileLinesWarn = 400;
constexpr size_t kFileLinesMax = 800;
constexpr size_t kColumnsMax = 100;
constexpr size_t kReadmeLinesMax = 20;

// A folder may include itself and the folders of its row. `base` and `telemetry` are open to all
// but base.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"base", {}},
    {"telemetry", {}},
    {"testing", {"engine/quant"}},
    {"http", {}},
    {"chat", {}},
    {"engine/threads", {}},
    {"engine/probe", {}},
    {"engine/quant", {}},
    {"engine/cache", {}},
    {"engine/format", {"engine/quant"}},
    {"engine/kernels", {"engine/quant", "engine/threads"}},
    {"engine/tokenizer", {"engine/format"}},
    {"engine/prompt", {"engine/tokenizer"}},
    {"engine/sampler", {"engine/tokenizer"}},
    {"engine/model",
     {"engine/cache", "engine/format", "engine/kernels", "engine/quant", "engine/threads",
      "engine/tokenizer"}},
    {"engine",
     {"engine/cache", "engine/format", "engine/kernels", "engine/model", "engine/prompt",
      "engine/quant", "engine/sampler", "engine/threads", "engine/tokenizer"}},
    {"dialects", {"chat"}},
    {"storage", {}},
    {"identity", {"storage"}},
    {"catalog", {}},
    {"pricing", {"catalog"}},
    {"ledger", {}},
    {"providers",
     {"http", "chat", "dialects", "catalog", "engine", "engine/prompt", "engine/tokenizer"}},
    {"routing", {"http", "chat", "identity", "catalog", "pricing", "providers"}},
    {"billing", {"storage", "chat", "dialects", "catalog", "pricing", "ledger"}},
    {"alerts", {"storage", "http", "dialects", "catalog", "ledger", "billing"}},
    {"gateway",
     {"http", "chat", "dialects", "identity", "catalog", "pricing", "ledger", "providers",
      "routing", "billing"}},
    {"console_api",
     {"http", "dialects", "identity", "catalog", "pricing", "ledger", "routing", "billing",
      "alerts"}},
    {"cli",
     {"http", "chat", "dialects", "storage", "identity", "catalog", "pricing", "ledger",
      "providers", "routing", "billing", "alerts", "gateway", "console_api", "engine", "engine/format",
      "engine/kernels", "engine/probe", "engine/threads"}},
    {".", {"cli"}},
};

struct File {
  fs::path path;       // relative to src/
  std::string folder;  // "engine/model"; "." for main.cc
  std::vector<std::string> lines;

  bool is_test() const {
    const std::string name = path.filename().string();
    return name.ends_with("_test.cc") || name.ends_with("_fuzz.cc") ||
           name.ends_with("_bench.cc") || folder == "testing" || name.starts_with("test_") ||
           name.starts_with("fake_");
  }
};

// The C++ of a folder, its paths relative to `root`.
void AddFiles(const fs::path& folder, const fs::path& root, std::vector<File>& files) {
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cc") {
      continue;
    }
    File file{fs::relative(entry.path(), root), {}, {}};
    file.folder = file.path.has_parent_path() ? file.path.parent_path().string() : ".";
    std::ifstream in(entry.path());
    for (std::string line; std::getline(in, line);) {
      file.lines.push_back(line);
    }
    files.push_back(std::move(file));
  }
}

std::vector<File> SourceFiles() {
  std::vector<File> files;
  AddFiles(kSource, kSource, files);
  std::ranges::sort(files, {}, &File::path);
  return files;
}

// All C++ of ours: that of tools, benches and tests, too.
std::vector<File> AllFiles() {
  std::vector<File> files = SourceFiles();
  const size_t in_source = files.size();
  for (const char* folder : {"tools", "bench", "tests", "fuzz"}) {
    AddFiles(fs::path(TW_SOURCE_DIR) / folder, TW_SOURCE_DIR, files);
  }
  EXPECT_GT(files.size(), in_source + 20);
  return files;
}

std::string FolderOf(const std::string& include) {
  const size_t slash = include.rfind('/');
  return slash == std::string::npos ? "." : include.substr(0, slash);
}

// The text of a file with comments, strings and characters blanked out; line breaks stay.
std::string Code(const File& file) {
  std::string text;
  for (const std::string& line : file.lines) {
    text += line + "\n";
  }
  std::string code;
  for (size_t i = 0; i < text.size();) {
    const auto skip_to = [&](size_t end) {
      for (; i < std::min(end, text.size()); ++i) {
        code.push_back(text[i] == '\n' ? '\n' : ' ');
      }
    };
    if (text.compare(i, 2, "//") == 0) {
      skip_to(text.find('\n', i));
    } else if (text.compare(i, 2, "/*") == 0) {
      skip_to(text.find("*/", i + 2) + 2);
    } else if (text.compare(i, 2, "R\"") == 0) {
      const size_t open = text.find('(', i);
      const std::string close = ")" + text.substr(i + 2, open - i - 2) + "\"";
      skip_to(text.find(close, open) + close.size());
    } else if (text[i] == '"' ||
               (text[i] == '\'' &&
                (i == 0 || !std::isalnum(static_cast<unsigned char>(text[i - 1]))))) {
      size_t end = i + 1;
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
      }
      code.push_back('"');  // a mark, so that what stands before a brace is still seen
      ++i;
      skip_to(end + 1);
    } else {
      code.push_back(text[i++]);
    }
  }
  return code;
}

struct Function {
  size_t first_line;
  size_t lines;
};

// Blocks that open where declarations stand (not inside a function) and have parameters before
// their brace.
std::vector<Function> FunctionsOf(const File& file) {
  const std::string code = Code(file);
  std::vector<Function> functions;
  std::string statement;
  size_t line = 1;
  size_t statement_line = 1;
  size_t depth_in_function = 0;
  bool at_statement_start = true;
  for (const char c : code) {
    if (c == '\n') {
      ++line;
      if (!statement.empty() && statement.find_first_not_of(" \n") != std::string::npos &&
          statement[statement.find_first_not_of(" \n")] == '#' && !statement.ends_with("\\")) {
        statement.clear();  // a preprocessor line
        at_statement_start = true;
      }
    }
    if (depth_in_function > 0) {
      depth_in_function += c == '{' ? 1 : 0;
      depth_in_function -= c == '}' ? 1 : 0;
      if (depth_in_function == 0) {
        functions.back().lines = line - functions.back().first_line + 1;
        statement.clear();
        at_statement_start = true;
      }
      continue;
    }
    if (at_statement_start && !std::isspace(static_cast<unsigned char>(c))) {
      statement_line = line;
      at_statement_start = false;
    }
    if (c == '{') {
      const auto is_container = [&] {
        for (const char* word : {"namespace", "class ", "struct ", "enum ", "union ", "extern "}) {
          const size_t at = statement.find(word);
          if (at != std::string::npos && statement.find('(') > at) {
            return true;
          }
        }
        return statement.find('(') == std::string::npos;
      }();
      if (!is_container) {
        functions.push_back({statement_line, 0});
        depth_in_function = 1;
      }
      statement.clear();
      at_statement_start = true;
    } else if (c == ';' || c == '}') {
      statement.clear();
      at_statement_start = true;
    } else {
      statement.push_back(c);
    }
  }
  return functions;
}

TEST(Tidy, EveryIncludeIsAnArrowOfTheTable) {
  size_t arrows = 0;
  for (const File& file : SourceFiles()) {
    const auto row = kMayInclude.find(file.folder);
    ASSERT_NE(row, kMayInclude.end()) << "folder " << file.folder << " is not in the include table";
    for (const std::string& line : file.lines) {
      if (!line.starts_with("#include \"")) {
        continue;
      }
      const std::string include = line.substr(10, line.find('"', 10) - 10);
      const std::string target = FolderOf(include);
      EXPECT_TRUE(fs::exists(kSource / include))
          << file.path << " includes " << include << ", rooted at src/";
      ++arrows;
      const bool allowed = target == file.folder || target == "base" ||
                           (target == "telemetry" && file.folder != "base") ||
                           row->second.contains(target) || (file.is_test() && target == "testing");
      EXPECT_TRUE(allowed || (file.is_test() && target.starts_with("engine")))
          << file.path << " must not include " << target;
    }
  }
  EXPECT_GT(arrows, 100u);
}

TEST(Tidy, AsioAndBeastStayInsideHttp) {
  for (const File& file : SourceFiles()) {
    for (const std::string& line : file.lines) {
      if (line.find("#include <boost/asio") == std::string::npos &&
          line.find("#include <boost/beast") == std::string::npos) {
        continue;
      }
      const bool is_task_header = file.path == "base/task.h";
      const bool in_http_source = file.folder == "http" && file.path.extension() == ".cc";
      const bool in_http_impl = file.folder == "http" && file.path.string().ends_with("_impl.h");
      EXPECT_TRUE(is_task_header || in_http_source || in_http_impl || file.is_test())
          << file.path << ": " << line;
    }
  }
}

TEST(Tidy, FunctionsFitAScreen) {
  size_t functions = 0;
  size_t long_ones = 0;
  for (const File& file : AllFiles()) {
    for (const Function& function : FunctionsOf(file)) {
      ++functions;
      if (function.lines > kFunctionLinesWarn) {
        ++long_ones;
        std::printf("warning: %s:%zu: a function of %zu lines\n", file.path.c_str(),
                    function.first_line, function.lines);
      }
      EXPECT_LE(function.lines, kFunctionLinesMax) << file.path << ":" << function.first_line;
    }
  }
  EXPECT_GT(functions, 300u) << "the scanner lost sight of the functions";
  std::printf("%zu functions, %zu longer than %zu lines\n", functions, long_ones,
              kFunctionLinesWarn);
}

TEST(Tidy, FilesAreShortOrSayWhyTheyAreWhole) {
  for (const File& file : AllFiles()) {
    if (file.lines.size() > kFileLinesWarn) {
      std::printf("warning: %s has %zu lines\n", file.path.c_str(), file.lines.size());
    }
    if (file.lines.size() > kFileLinesMax) {
      std::string top;
      for (size_t i = 0; i < 12; ++i) {
        top += file.lines[i] + "\n";
      }
      EXPECT_NE(top.find("hole because"), std::string::npos)
          << file.path << " has " << file.lines.size()
          << " lines; split it, or say at its top why it is whole";
    }
  }
}

TEST(Tidy, LinesFitTheColumnsAndHeadersHaveAGuard) {
  for (const File& file : AllFiles()) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      const auto characters = static_cast<size_t>(std::ranges::count_if(
          line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
      // A long literal or table row cannot be broken.
      const bool literal = line.find('"') != std::string::npos;
      EXPECT_TRUE(characters <= kColumnsMax || literal)
          << file.path << ":" << i + 1 << " has " << characters << " columns";
      EXPECT_EQ(line.find('\t'), std::string::npos) << file.path << ":" << i + 1 << " has a tab";
    }
    if (file.path.extension() == ".h") {
      EXPECT_TRUE(std::ranges::find(file.lines, "#pragma once") != file.lines.end()) << file.path;
    }
  }
}

TEST(Tidy, NothingIsLeftMarkedForLater) {
  for (const File& file : AllFiles()) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      for (const std::string& word :
           {std::string("TO") + "DO", std::string("FIX") + "ME", std::string("HA") + "CK"}) {
        const size_t at = file.lines[i].find(word);
        const bool whole_word =
            at != std::string::npos &&
            (at == 0 || !std::isalnum(static_cast<unsigned char>(file.lines[i][at - 1])));
        EXPECT_FALSE(whole_word) << file.path << ":" << i + 1;
      }
    }
  }
}

TEST(Tidy, EveryFolderSaysWhatItIsForInAFewLines) {
  std::set<std::string> folders;
  for (const File& file : SourceFiles()) {
    folders.insert(file.folder);
  }
  folders.erase(".");
  for (const std::string& folder : folders) {
    std::ifstream readme(kSource / folder / "README.md");
    ASSERT_TRUE(readme) << "src/" << folder << "/README.md is missing";
    size_t lines = 0;
    for (std::string line; std::getline(readme, line);) {
      ++lines;
    }
    EXPECT_GT(lines, 3u) << folder;
    EXPECT_LE(lines, kReadmeLinesMax) << folder;
  }
}

// Two branches may both have taken the next one.
TEST(Tidy, EveryDecisionHasANumberOfItsOwn) {
  std::map<std::string, std::string> files;  // by number
  for (const auto& entry : fs::directory_iterator(fs::path(TW_SOURCE_DIR) / "docs" / "adr")) {
    const std::string name = entry.path().filename().string();
    if (name == "README.md") {
      continue;
    }
    const std::string number = name.substr(0, 4);
    const auto [same, is_new] = files.emplace(number, name);
    EXPECT_TRUE(is_new) << name << " has the number of " << same->second;
    std::string title;
    std::ifstream in(entry.path());
    std::getline(in, title);
    const size_t digits = number.find_first_not_of('0');
    EXPECT_TRUE(title.starts_with("# " + number.substr(std::min(digits, number.size())) + ". "))
        << name << " calls itself \"" << title << '"';
  }
  EXPECT_GT(files.size(), 10u);
}

TEST(Tidy, NothingThrowsAndNobodyCallsExitButMain) {
  for (const File& file : SourceFiles()) {
    if (file.is_test()) {
      continue;
    }
    std::istringstream code(Code(file));
    size_t number = 0;
    for (std::string line; std::getline(code, line);) {
      ++number;
      const bool throws =
          line.find("throw ") != std::string::npos || line.find("throw;") != std::string::npos;
      EXPECT_FALSE(throws) << file.path << ":" << number << ": return a Result instead";
      const bool exits = line.find("std::exit(") != std::string::npos && file.folder != "cli" &&
                         file.folder != ".";
      EXPECT_FALSE(exits) << file.path << ":" << number;
    }
  }
}

}  // namespace
