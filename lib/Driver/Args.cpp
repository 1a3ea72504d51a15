//===-- Args.cpp - Command lines of sub-commands ------------------------------------------------------------------===//
#include "lib/Driver/Args.h"
#include "lib/Driver/Commands.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;
using namespace sparse::driver;

void Args::flag(bool &target, StringRef name, StringRef help) {
  options.push_back({name.str(), "", help.str(), 0, true, [&target](StringRef) {
                       target = true;
                       return std::string();
                     }});
}

void Args::option(std::string &target, StringRef name, char letter, StringRef metavar, StringRef help) {
  options.push_back({name.str(), metavar.str(), help.str(), letter, false, [&target](StringRef value) {
                       target = value.str();
                       return std::string();
                     }});
}

void Args::option(std::vector<std::string> &target, StringRef name, StringRef metavar, StringRef help) {
  option([&target](StringRef value) {
    target.push_back(value.str());
    return std::string();
  }, name, metavar, help);
}

void Args::option(int64_t &target, StringRef name, StringRef metavar, StringRef help) {
  option([&target](StringRef value) {
    return value.getAsInteger(10, target) ? "'" + value.str() + "' is not an integer" : std::string();
  }, name, metavar, help);
}

void Args::option(std::function<std::string(StringRef)> parser, StringRef name, StringRef metavar, StringRef help) {
  options.push_back({name.str(), metavar.str(), help.str(), 0, false, std::move(parser)});
}

void Args::positional(std::string &target, StringRef metavar, StringRef help) {
  positionals.push_back({&target, metavar.str(), help.str(), true});
}

void Args::optionalPositional(std::string &target, StringRef metavar, StringRef help) {
  positionals.push_back({&target, metavar.str(), help.str(), false});
}

void Args::example(StringRef line, StringRef what) { examples.emplace_back(line.str(), what.str()); }

const Args::Option *Args::find(StringRef name) const {
  for (const Option &option : options)
    if (option.name == name || (name.size() == 1 && name[0] == option.letter))
      return &option;
  return nullptr;
}

std::string Args::unknown(StringRef name) const {
  SmallVector<StringRef> names{"help"};
  for (const Option &option : options)
    names.push_back(option.name);
  StringRef near = nearestName(name, names);
  return "unknown option '" + name.str() + "'" + (near.empty() ? "" : "; did you mean '--" + near.str() + "'?");
}

int Args::usageError(const std::string &message) const {
  errs() << command << ": error: " << message << "\n(see '" << command << " --help')\n";
  return ExitUsage;
}

std::optional<int> Args::parse(int argc, char **argv) {
  size_t next = 0;
  bool onlyPositional = false;
  for (int i = 1; i < argc; ++i) {
    StringRef arg = argv[i];
    // A lone '-' is standard input or output.
    if (onlyPositional || !arg.starts_with("-") || arg == "-") {
      if (next == positionals.size())
        return usageError("unexpected argument '" + arg.str() + "'");
      *positionals[next++].target = arg.str();
      continue;
    }
    if (arg == "--") {
      onlyPositional = true;
      continue;
    }
    if (arg == "--help" || arg == "-h") {
      printHelp(outs());
      return ExitOk;
    }
    auto [dashed, value] = arg.split('=');
    bool hasValue = dashed.size() != arg.size();
    StringRef name = dashed.ltrim('-');
    const Option *option = find(name);
    if (!option)
      return usageError(unknown(dashed.str()[1] == '-' ? name : dashed.drop_front()));
    if (option->isFlag && hasValue)
      return usageError("option '" + dashed.str() + "' takes no value");
    if (!option->isFlag && !hasValue) {
      if (++i == argc)
        return usageError("option '" + dashed.str() + "' needs a value (" + option->metavar + ")");
      value = argv[i];
    }
    std::string problem = option->set(value);
    if (!problem.empty())
      return usageError("option '" + dashed.str() + "': " + problem);
  }
  if (next < positionals.size() && positionals[next].required)
    return usageError("no " + positionals[next].metavar + " given");
  return std::nullopt;
}

void Args::printHelp(raw_ostream &os) const {
  os << summary << "\n\nUsage: " << command;
  for (const Positional &positional : positionals)
    os << (positional.required ? " <" : " [<") << positional.metavar << (positional.required ? ">" : ">]");
  os << " [options]\n\n";
  constexpr unsigned column = 34;
  auto row = [&](const std::string &left, const std::string &help) {
    os << "  " << left_justify(left, column - 2) << (left.size() >= column - 2 ? "\n" + std::string(column, ' ') : "");
    // Further lines of the help stand under the first.
    SmallVector<StringRef> lines;
    StringRef(help).split(lines, '\n');
    for (size_t i = 0; i < lines.size(); ++i)
      os << (i ? std::string(column, ' ') : "") << lines[i] << '\n';
  };
  for (const Positional &positional : positionals)
    row(positional.metavar, positional.help);
  if (!positionals.empty())
    os << '\n';
  for (const Option &option : options)
    row((option.letter ? std::string("-") + option.letter + ", --" : std::string("--")) + option.name +
            (option.isFlag ? "" : "=" + option.metavar),
        option.help);
  row("-h, --help", "prints this");
  if (!examples.empty())
    os << "\nExamples:\n";
  for (const auto &[line, what] : examples)
    os << "  # " << what << "\n  " << line << '\n';
}
