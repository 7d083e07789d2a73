#include "cli/port_holder.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <climits>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>

namespace tradewind::cli {
namespace {

namespace fs = std::filesystem;

// The socket inodes that listen on `port`. Lines of /proc/net/tcp: index, local address:port in
// hex, remote, state (0A = listening), queues, timer, retransmits, uid, timeout, inode.
std::set<std::string> ListeningInodes(uint16_t port) {
  std::set<std::string> inodes;
  const std::string wanted = fmt::format(":{:04X}", port);
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream in(table);
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream fields(line);
      std::array<std::string, 10> field;
      for (std::string& text : field) {
        fields >> text;
      }
      if (field[1].ends_with(wanted) && field[3] == "0A") {
        inodes.insert(fmt::format("socket:[{}]", field[9]));
      }
    }
  }
  return inodes;
}

bool HoldsOne(const fs::path& process, const std::set<std::string>& inodes) {
  std::error_code failed;
  for (fs::directory_iterator it(process / "fd", failed), end; !failed && it != end;
       it.increment(failed)) {
    std::error_code unreadable;
    if (inodes.contains(fs::read_symlink(it->path(), unreadable).string())) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::optional<std::string> FindPortHolder(uint16_t port) {
  const std::set<std::string> inodes = ListeningInodes(port);
  std::error_code failed;
  for (fs::directory_iterator it("/proc", failed), end; !inodes.empty() && !failed && it != end;
       it.increment(failed)) {
    const std::string pid = it->path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; })) {
      continue;
    }
    if (HoldsOne(it->path(), inodes)) {
      std::string name;
      std::ifstream comm(it->path() / "comm");
      std::getline(comm, name);
      return fmt::format("{} (pid {})", name, pid);
    }
  }
  return std::nullopt;
}

}  // namespace tradewind::cli
