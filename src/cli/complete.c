/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/complete.h"

#include <ctype.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cli/help.h"

/*
 * Theory of operation
 * -------------------
 *
 * Each script knows the tables as of its making and asks the program only for the names of
 * VMs. A name is somebody's text: no script hands it to anything that expands it
 * (bash's compgen -W would), and bash inserts it quoted.
 */

typedef void (*script_fn)(struct str *out, const char *program,
			  const struct command *const *commands);

static bool takes_value(const struct option *o)
{
	return o->kind != OPTION_FLAG && o->kind != OPTION_SWITCH;
}

static bool takes_file(const struct option *o)
{
	return takes_value(o) && o->value && !strcmp(o->value, "path");
}

static bool is_offered(const struct option *o)
{
	return !(o->flags & (OPTION_HIDDEN | OPTION_PRIVATE));
}

/* The next option from @o on that is shown to users; NULL: no more. */
static const struct option *offered(const struct option *o)
{
	while (o && o->name && !is_offered(o))
		o++;
	return o && o->name ? o : NULL;
}

static const struct command *shown(const struct command *const **c)
{
	while (**c && ((**c)->flags & COMMAND_HIDDEN))
		(*c)++;
	return **c;
}

/* @program as part of a shell function's name. */
static void add_identifier(struct str *out, const char *program)
{
	for (const char *c = program; *c; c++)
		str_addc(out, isalnum((unsigned char)*c) ? *c : '_');
}

/* @text between single quotes, the characters of @escaped with a backslash. */
static void add_quoted(struct str *out, const char *text, const char *escaped)
{
	for (const char *c = text; *c; c++) {
		if (*c == '\'')
			str_adds(out, "'\\'");
		else if (strchr(escaped, *c))
			str_addc(out, '\\');
		str_addc(out, *c);
	}
}

static void add_choices(struct str *out, const char *const *choices)
{
	for (size_t i = 0; choices[i]; i++)
		str_addf(out, i ? " %s" : "%s", choices[i]);
}

static void add_names(struct str *out, const struct command *const *commands)
{
	for (const struct command *c; (c = shown(&commands)); commands++)
		str_addf(out, "%s ", c->name);
	str_adds(out, "help completion");
}

/* ------------------------------------------------------------------ bash */

/* `"set --cpu"`, `"stop --timeout" | "stop -t"` */
static void add_bash_pattern(struct str *out, const char *verb, const struct option *o)
{
	str_addf(out, "\"%s --%s\"", verb, o->name);
	if (o->letter)
		str_addf(out, " | \"%s -%c\"", verb, o->letter);
}

static void add_bash_values(struct str *out, const struct command *c)
{
	const struct option *o = offered(c->options);

	for (; o; o = offered(o + 1)) {
		if (!takes_value(o))
			continue;
		str_addc(out, '\t');
		add_bash_pattern(out, c->name, o);
		if (o->choices) {
			str_adds(out, ") COMPREPLY=($(compgen -W '");
			add_choices(out, o->choices);
			str_adds(out, "' -- \"$cur\")); return ;;\n");
		} else {
			str_adds(out, takes_file(o) ? ") compopt -o default; return ;;\n"
						    : ") return ;;\n");
		}
	}
}

static void add_bash_skips(struct str *out, const struct command *c)
{
	const struct option *o = offered(c->options);

	for (; o; o = offered(o + 1))
		if (takes_value(o)) {
			str_adds(out, "\t\t");
			add_bash_pattern(out, c->name, o);
			str_adds(out, ") i=$((i + 1)) ;;\n");
		}
}

static void add_bash_options(struct str *out, const struct command *c)
{
	str_addf(out, "\t%s) options='", c->name);
	for (const struct option *o = offered(c->options); o; o = offered(o + 1)) {
		str_addf(out, "--%s ", o->name);
		if (o->kind == OPTION_SWITCH)
			str_addf(out, "--no-%s ", o->name);
	}
	str_adds(out, "--help --version' ;;\n");
}

/* How the program is asked for names. */
static const char *names_of(enum argument_completes what)
{
	return what == COMPLETES_VM ? "list --quiet --source local" : "list --quiet";
}

static void add_bash_arguments(struct str *out, const struct command *c)
{
	size_t n = 0;

	for (const struct argument *a = c->arguments; a && a->name; a++, n++) {
		if (a->completes == COMPLETES_NOTHING)
			continue;
		str_addf(out, "\t\"%s \"", c->name);
		if (a->kind == ARGUMENT_MANY)
			str_addc(out, '*');
		else
			str_addf(out, "%zu", n);
		if (a->completes == COMPLETES_FILE)
			str_adds(out, ") compopt -o default ;;\n");
		else
			str_addf(out, ") what='%s' ;;\n", names_of(a->completes));
	}
}

static void for_each(struct str *out, const struct command *const *commands,
		     void (*add)(struct str *out, const struct command *c))
{
	for (const struct command *c; (c = shown(&commands)); commands++)
		add(out, c);
}

/*
 * Readline cuts words at ':' and '@', which are in the middle of an image's name. They are put
 * together again, and of the answers the part that readline believes to be other words is taken
 * off.
 */
static const char bash_words[] =
	"\tlocal verb='' options='' what='' name='' last='' joined='' words=() i n=0\n"
	"\tfor ((i = 0; i <= COMP_CWORD; i++)); do\n"
	"\t\tname=${COMP_WORDS[i]}\n"
	"\t\tif [[ ${#words[@]} -gt 1 && ($name == [:@] || $last == [:@]) ]]; then\n"
	"\t\t\twords[${#words[@]} - 1]+=$name joined=1\n"
	"\t\telse\n"
	"\t\t\twords+=(\"$name\") joined=''\n"
	"\t\tfi\n"
	"\t\tlast=$name\n"
	"\tdone\n"
	"\tlocal cword=$((${#words[@]} - 1))\n"
	"\tlocal cur=${words[cword]} prev=${words[cword - 1]}\n"
	"\tlocal off=${cur%\"${cur##*[:@]}\"}\n";

/* A word comes as it was typed, with backslashes. */
static const char bash_names[] = "\tif [[ $what && $cur != -* ]]; then\n"
				 "\t\tcur=${cur//\\\\\\\\/$'\\1'} cur=${cur//\\\\/}\n"
				 "\t\tcur=${cur//$'\\1'/\\\\}\n"
				 "\t\twhile IFS= read -r name; do\n"
				 "\t\t\t[[ $name == \"$cur\"* ]] || continue\n"
				 "\t\t\t[[ $joined ]] && name=${name#\"$off\"}\n"
				 "\t\t\tprintf -v name %q \"$name\"\n"
				 "\t\t\tCOMPREPLY+=(\"$name\")\n"
				 "\t\tdone < <(\"$1\" $what 2>/dev/null)\n";

static void add_bash_verbs(struct str *out, const struct command *const *commands)
{
	str_adds(out, "\tcase \"$verb\" in\n"
		      "\t'') options='--help --version --generate-completion-script ");
	add_names(out, commands);
	str_adds(out, "' ;;\n\thelp) options='");
	add_names(out, commands);
	str_adds(out, "' ;;\n"
		      "\tcompletion | --generate-completion-script) options='bash zsh fish' ;;\n");
	for_each(out, commands, add_bash_options);
	str_adds(out, "\tesac\n");
}

static void add_bash(struct str *out, const char *program, const struct command *const *commands)
{
	auto_str id = STR_INIT;

	add_identifier(&id, program);
	str_addf(out,
		 "# bash completion for %s\n"
		 "_%s()\n"
		 "{\n"
		 "%s"
		 "\tCOMPREPLY=()\n"
		 "\t[ \"$cword\" -gt 1 ] && verb=${words[1]}\n"
		 "\tcase \"$verb $prev\" in\n",
		 program, id.ptr, bash_words);
	for_each(out, commands, add_bash_values);
	str_adds(out, "\tesac\n"
		      "\tfor ((i = 2; i < cword; i++)); do\n"
		      "\t\tcase \"$verb ${words[i]}\" in\n");
	for_each(out, commands, add_bash_skips);
	str_adds(out, "\t\t*' '-*) ;;\n"
		      "\t\t*) n=$((n + 1)) ;;\n"
		      "\t\tesac\n"
		      "\tdone\n");
	add_bash_verbs(out, commands);
	str_adds(out, "\tcase \"$verb $n\" in\n");
	for_each(out, commands, add_bash_arguments);
	str_addf(
		out,
		"\tesac\n"
		"%s"
		"\telif [[ $cur == -* || $verb == '' || $verb == help || $verb == *completion* ]]; "
		"then\n"
		"\t\tCOMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
		"\tfi\n"
		"}\n"
		"complete -F _%s %s\n",
		bash_names, id.ptr, program);
}

/* ------------------------------------------------------------------- zsh */

static const char zsh_special[] = "[]:\\";

static void add_zsh_value(struct str *out, const struct option *o)
{
	if (!takes_value(o))
		return;
	str_addf(out, ":%s:", option_value_name(o));
	if (o->choices) {
		str_addc(out, '(');
		add_choices(out, o->choices);
		str_addc(out, ')');
	} else if (takes_file(o)) {
		str_adds(out, "_files");
	}
}

static void add_zsh_option(struct str *out, const struct option *o, const char *name)
{
	str_addf(out, " \\\n\t\t\t'%s%s", o->kind == OPTION_STRINGS ? "*" : "", name);
	str_addc(out, '[');
	add_quoted(out, o->help ? o->help : "", zsh_special);
	str_addc(out, ']');
	add_zsh_value(out, o);
	str_addc(out, '\'');
}

static void add_zsh_spellings(struct str *out, const struct option *o)
{
	auto_str name = STR_INIT;

	str_addf(&name, "--%s", o->name);
	add_zsh_option(out, o, name.ptr);
	if (o->letter) {
		str_reset(&name);
		str_addf(&name, "-%c", o->letter);
		add_zsh_option(out, o, name.ptr);
	}
	if (o->kind == OPTION_SWITCH) {
		str_reset(&name);
		str_addf(&name, "--no-%s", o->name);
		add_zsh_option(out, o, name.ptr);
	}
}

static void add_zsh_argument(struct str *out, const char *id, const struct argument *a)
{
	bool many = a->kind == ARGUMENT_MANY || a->kind == ARGUMENT_VERBATIM;

	str_addf(out, " \\\n\t\t\t'%s:%s:", many ? "*" : "", a->name);
	if (a->completes == COMPLETES_VM || a->completes == COMPLETES_IMAGE)
		str_addf(out, " _%s_names %s", id, names_of(a->completes));
	else if (a->completes == COMPLETES_FILE)
		str_adds(out, "_files");
	str_addc(out, '\'');
}

static void add_zsh_command(struct str *out, const char *id, const struct command *c)
{
	str_addf(out, "\t%s)\n\t\t_arguments -s", c->name);
	for (const struct option *o = offered(c->options); o; o = offered(o + 1))
		add_zsh_spellings(out, o);
	for (const struct argument *a = c->arguments; a && a->name; a++)
		add_zsh_argument(out, id, a);
	str_adds(out, " \\\n\t\t\t'--help[Show help.]' '--version[Show the version.]'\n\t\t;;\n");
}

static void add_zsh(struct str *out, const char *program, const struct command *const *commands)
{
	auto_str id = STR_INIT;

	add_identifier(&id, program);
	str_addf(out,
		 "#compdef %s\n"
		 "_%s_names()\n"
		 "{\n"
		 "\tlocal -a names\n"
		 "\tnames=(${(f)\"$(%s $@ 2>/dev/null)\"})\n"
		 "\tcompadd -a names\n"
		 "}\n"
		 "_%s()\n"
		 "{\n"
		 "\tif ((CURRENT == 2)); then\n"
		 "\t\tcompadd -- ",
		 program, id.ptr, program, id.ptr);
	add_names(out, commands);
	str_adds(out, "\n\t\treturn\n"
		      "\tfi\n"
		      "\tshift words\n"
		      "\t((CURRENT--))\n"
		      "\tcase $words[1] in\n"
		      "\thelp) compadd -- ");
	add_names(out, commands);
	str_adds(out, " ;;\n\tcompletion) compadd bash zsh fish ;;\n");
	for (const struct command *const *c = commands; shown(&c); c++)
		add_zsh_command(out, id.ptr, *c);
	str_addf(out,
		 "\tesac\n"
		 "}\n"
		 "if [ \"$funcstack[1]\" = _%s ]; then\n"
		 "\t_%s \"$@\"\n"
		 "else\n"
		 "\tcompdef _%s %s\n"
		 "fi\n",
		 id.ptr, id.ptr, id.ptr, program);
}

/* ------------------------------------------------------------------ fish */

static void add_fish_option(struct str *out, const char *program, const char *verb,
			    const struct option *o)
{
	str_addf(out, "complete -c %s -n '__fish_seen_subcommand_from %s' -l %s", program, verb,
		 o->name);
	if (o->letter)
		str_addf(out, " -s %c", o->letter);
	if (o->choices) {
		str_adds(out, " -x -a '");
		add_choices(out, o->choices);
		str_addc(out, '\'');
	} else if (takes_value(o)) {
		str_adds(out, takes_file(o) ? " -r -F" : " -x");
	}
	str_adds(out, " -d '");
	add_quoted(out, o->help ? o->help : "", "\\");
	str_adds(out, "'\n");
}

static void add_fish_command(struct str *out, const char *program, const struct command *c)
{
	const char *names = NULL;
	bool files = false;

	str_addf(out, "complete -c %s -n __fish_use_subcommand -a %s -d '", program, c->name);
	add_quoted(out, c->summary, "\\");
	str_adds(out, "'\n");
	for (const struct option *o = offered(c->options); o; o = offered(o + 1))
		add_fish_option(out, program, c->name, o);
	for (const struct argument *a = c->arguments; a && a->name; a++) {
		if (a->completes == COMPLETES_VM || a->completes == COMPLETES_IMAGE)
			names = names_of(a->completes);
		files = files || a->completes == COMPLETES_FILE;
	}
	if (names)
		str_addf(out,
			 "complete -c %s -n '__fish_seen_subcommand_from %s' "
			 "-a '(%s %s 2>/dev/null)'\n",
			 program, c->name, program, names);
	if (files)
		str_addf(out, "complete -c %s -n '__fish_seen_subcommand_from %s' -F\n", program,
			 c->name);
}

static void add_fish(struct str *out, const char *program, const struct command *const *commands)
{
	str_addf(out,
		 "complete -c %s -f\n"
		 "complete -c %s -l help -s h -d 'Show help.'\n"
		 "complete -c %s -l version -d 'Show the version.'\n"
		 "complete -c %s -n __fish_use_subcommand -a 'help completion'\n"
		 "complete -c %s -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n",
		 program, program, program, program, program);
	str_addf(out, "complete -c %s -n '__fish_seen_subcommand_from help' -a '", program);
	add_names(out, commands);
	str_adds(out, "'\n");
	for (const struct command *const *c = commands; shown(&c); c++)
		add_fish_command(out, program, *c);
}

int complete_add_script(struct str *out, const char *program, const char *shell,
			const struct command *const *commands, struct error *err)
{
	static const struct {
		const char *name;
		script_fn add;
	} shells[] = { { "bash", add_bash }, { "zsh", add_zsh }, { "fish", add_fish } };
	auto_str given = STR_INIT;

	if (!shell)
		return error_set(err, E_USAGE,
				 "Missing value for '--generate-completion-script <shell>'");
	for (size_t i = 0; i < array_size(shells); i++)
		if (!strcmp(shells[i].name, shell)) {
			shells[i].add(out, program, commands);
			return 0;
		}
	str_add_printable(&given, shell);
	return error_set(err, E_USAGE,
			 "The value '%s' is invalid for '--generate-completion-script <shell>'. "
			 "Please provide one of 'bash', 'zsh' or 'fish'.",
			 given.ptr);
}
