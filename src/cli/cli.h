// The command line: words in, exit code out.
#pragma once

namespace tradewind::cli {

int Main(int argc, char** argv);

}  // namespace tradewind::cli
