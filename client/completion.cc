#include "client/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "client/flags.h"

namespace torchd {
namespace {

// A server that does not answer must not hold up the person who types.
constexpr char kModels[] = "torchctl models --names --timeout 1 2>/dev/null";
constexpr char kPriorities[] = "high normal low";
constexpr char kActivations[] = "none softmax sigmoid";
constexpr char kPlans[] = "saved frozen onednn channels_last graph direct package int8 bf16 fp16";
constexpr char kShells[] = "bash zsh fish";

std::vector<std::string> FlagNames(unsigned place) {
  std::vector<std::string> names;
  for (const Flag& flag : Flags()) {
    if ((flag.places & place) != 0) names.emplace_back(flag.name);
  }
  return names;
}

// Those whose value is of this kind, wherever they stand, joined for a `case`. `--version` takes
// none before a command, where it ends the line anyway.
std::string FlagsOf(Value value) {
  std::vector<std::string> names;
  for (const Flag& flag : Flags()) {
    if (flag.value == value) names.emplace_back(flag.name);
  }
  return absl::StrJoin(names, "|");
}

std::string CommandsOf(Takes takes) {
  std::vector<std::string> names;
  for (const CommandName& command : Commands()) {
    if (command.takes == takes) names.emplace_back(command.name);
  }
  return absl::StrJoin(names, "|");
}

std::string CommandWords(absl::string_view separator) {
  return absl::StrJoin(Commands(), separator, [](std::string* out, const CommandName& command) {
    out->append(command.name);
  });
}

// For a `case` over the command: its flags.
std::string FlagCases(absl::string_view format) {
  std::string cases = absl::StrReplaceAll(
      format, {{"COMMAND", "\"\""}, {"FLAGS", absl::StrJoin(FlagNames(kBeforeCommand), " ")}});
  for (const CommandName& command : Commands()) {
    absl::StrAppend(&cases, absl::StrReplaceAll(
                                format, {{"COMMAND", command.name},
                                         {"FLAGS", absl::StrJoin(FlagNames(command.place), " ")}}));
  }
  return cases;
}

// Fills in what both shells that have `case` need. In both, `words` are the words from torchctl on,
// `current` is the index of the one that is typed, and `offer` takes what it may be.
std::string Filled(absl::string_view script) {
  return absl::StrReplaceAll(script,
                             {{"@COMMANDS|@", CommandWords("|")},
                              {"@COMMANDS@", CommandWords(" ")},
                              {"@VALUE|@", FlagsOf(Value::kAny)},
                              {"@MODEL|@", FlagsOf(Value::kModel)},
                              {"@PRIORITY|@", FlagsOf(Value::kPriority)},
                              {"@ACTIVATION|@", FlagsOf(Value::kActivation)},
                              {"@PLAN|@", FlagsOf(Value::kPlan)},
                              {"@MODELS@", kModels},
                              {"@PRIORITIES@", kPriorities},
                              {"@ACTIVATIONS@", kActivations},
                              {"@PLANS@", kPlans},
                              {"@SHELLS@", kShells},
                              {"@FILES-OF|@", CommandsOf(Takes::kFiles)},
                              {"@MODELS-OF|@", CommandsOf(Takes::kModel)},
                              {"@SHELLS-OF|@", CommandsOf(Takes::kShell)},
                              {"@FLAG-CASES@", FlagCases("      COMMAND) offer FLAGS ;;\n")}});
}

constexpr char kBody[] = R"sh(  local command= i
  for ((i = first + 1; i < current; ++i)); do
    case ${words[i]} in
      --address|--timeout) ((++i)) ;;
      @COMMANDS|@) command=${words[i]}; break ;;
    esac
  done
  case ${words[current-1]} in
    @MODEL|@) offer $(@MODELS@); return ;;
    @PRIORITY|@) offer @PRIORITIES@; return ;;
    @ACTIVATION|@) offer @ACTIVATIONS@; return ;;
    @PLAN|@) offer @PLANS@; return ;;
    @VALUE|@) [[ -z $command && ${words[current-1]} == --version ]] || return ;;
  esac
  if [[ ${words[current]} == -* ]]; then
    case $command in
@FLAG-CASES@    esac
    return
  fi
  case $command in
    "") offer @COMMANDS@ ;;
    @FILES-OF|@) files ;;
    @MODELS-OF|@) offer $(@MODELS@) ;;
    @SHELLS-OF|@) offer @SHELLS@ ;;
  esac
}
)sh";

constexpr char kBash[] = R"sh(# torchctl for bash: eval "$(torchctl completion bash)" in ~/.bashrc
_torchctl() {
  local words=("${COMP_WORDS[@]}") current=$COMP_CWORD first=0
  COMPREPLY=()
  offer() { COMPREPLY=($(compgen -W "$*" -- "${words[current]}")); }
  files() { compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "${words[current]}"); }
)sh";

constexpr char kZsh[] = R"sh(#compdef torchctl
# torchctl for zsh: eval "$(torchctl completion zsh)" in ~/.zshrc, after compinit
_torchctl() {
  local current=$CURRENT first=1
  offer() { compadd -- "$@"; }
  files() { _files; }
)sh";

// Loaded from the path of functions it is called at once; from an `eval` it is only made known.
constexpr char kZshEnd[] = R"sh(if [[ $funcstack[1] == _torchctl ]]; then
  _torchctl "$@"
else
  compdef _torchctl torchctl
fi
)sh";

std::string FishFlag(const Flag& flag, absl::string_view condition) {
  const bool one_dash = flag.name[1] != '-';
  std::string line = absl::StrCat("complete -c torchctl -n '", condition, "' ",
                                  one_dash ? "-s " : "-l ", flag.name + (one_dash ? 1 : 2));
  switch (flag.value) {
    case Value::kNone:
      return line + "\n";
    case Value::kAny:
      return line + " -x\n";
    case Value::kModel:
      return absl::StrCat(line, " -xa '(", kModels, ")'\n");
    case Value::kPriority:
      return absl::StrCat(line, " -xa '", kPriorities, "'\n");
    case Value::kActivation:
      return absl::StrCat(line, " -xa '", kActivations, "'\n");
    case Value::kPlan:
      return absl::StrCat(line, " -xa '", kPlans, "'\n");
  }
  return line;
}

std::string Fish() {
  std::string script =
      "# torchctl for fish: torchctl completion fish | source\ncomplete -c torchctl -f\n";
  const std::string none = absl::StrCat("not __fish_seen_subcommand_from ", CommandWords(" "));
  for (const Flag& flag : Flags()) {
    if ((flag.places & kBeforeCommand) != 0) absl::StrAppend(&script, FishFlag(flag, none));
  }
  for (const CommandName& command : Commands()) {
    absl::StrAppend(&script, "complete -c torchctl -n '", none, "' -a ", command.name, " -d '",
                    command.about, "'\n");
    const std::string seen = absl::StrCat("__fish_seen_subcommand_from ", command.name);
    const absl::string_view takes = command.takes == Takes::kModel   ? "-a"
                                    : command.takes == Takes::kShell ? "-a"
                                    : command.takes == Takes::kFiles ? "-F"
                                                                     : "";
    if (!takes.empty()) {
      absl::StrAppend(&script, "complete -c torchctl -n '", seen, "' ", takes);
      if (command.takes == Takes::kModel) absl::StrAppend(&script, " '(", kModels, ")'");
      if (command.takes == Takes::kShell) absl::StrAppend(&script, " '", kShells, "'");
      absl::StrAppend(&script, "\n");
    }
    for (const Flag& flag : Flags()) {
      if ((flag.places & command.place) != 0) absl::StrAppend(&script, FishFlag(flag, seen));
    }
  }
  return script;
}

}  // namespace

std::string CompletionScript(const std::string& shell) {
  if (shell == "fish") return Fish();
  if (shell == "zsh") return Filled(absl::StrCat(kZsh, kBody, kZshEnd));
  return Filled(absl::StrCat(kBash, kBody, "complete -F _torchctl torchctl\n"));
}

}  // namespace torchd
