"""The compiled extension; everything else is in pyproject.toml."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if sys.platform == "win32":
    sys.exit(
        "pydl needs Linux or macOS: its C core uses pthreads and GNU vector extensions. "
        "On Windows, install it inside WSL (https://learn.microsoft.com/windows/wsl/)."
    )

# KERNEL(name, (parameters), (arguments)) of kernels.def, and an exported function of pydl.h.
KERNEL = re.compile(r"^KERNEL\((\w+),\s*\(([^()]*)\),\s*\([^()]*\)\)", re.MULTILINE)
EXPORT = re.compile(r"^PYDL_EXPORT (.*?)(\w+)\(([^()]*)\);", re.MULTILINE)
# What is of use within one build alone: the layout of pydl_table follows kernels.def.
INTERNAL = {"pydl_active", "pydl_find", "pydl_get_api"}
# Answers a question and makes no array: nothing to be done again.
QUERIES = {"pydl_conv2d_weight_form"}


def in_cython(declaration):
    """A C declaration in the names of _pydl_core.pxd."""
    declaration = " ".join(re.sub(r"\bREAL\b", "void", declaration).split())
    return re.sub(r"\bin\b", "in_", re.sub(r"\bpydl_dtype\b", "dtype_code", declaration)).replace(
        "pydl_", ""
    )


def c_functions():
    """(return type, name, parameters) of what Cython modules may call, from the C headers."""
    for name, parameters in KERNEL.findall(Path("csrc/kernels.def").read_text()):
        yield "int", f"pydl_{name}", in_cython(f"pydl_dtype dtype, {parameters}")
    for kind, name, parameters in EXPORT.findall(Path("csrc/pydl.h").read_text()):
        if name not in INTERNAL:
            yield in_cython(kind), name, "" if parameters == "void" else in_cython(parameters)


def recorded(name, parameters):
    """A Cython function that calls the C function, and what notes the call in a Program.

    The record is a struct of the arguments. Shapes are copied into it, and lists beside it.
    """
    fields, values, again, notes = [], [], [], []
    for parameter in parameters.split(","):
        kind, field = re.fullmatch(r"\s*(.*?) ?(\w+)", parameter).groups()
        value, given = field, f"of.{field}"
        if kind.endswith("shape *"):
            kind = kind.removeprefix("const ").removesuffix(" *")
            value, given = f"{field}[0]", f"&of.{field}"
            if kind == "recurrent_shape":
                notes.append(f"        program.reads(<const void **>&of.{field}.lengths)")
        elif kind == "const idx *":
            kind, value = "idx *", f"<idx *>program.copied({field}, count * sizeof(idx))"
        elif kind.endswith("*const *"):
            written = not kind.startswith("const")
            kind = "void **" if written else "const void **"
            value = f"<{kind}>program.copied({field}, count * sizeof(void *))"
            notes.append(f"        program.each(<const void **>of.{field}, count, {written})")
        elif kind.endswith("*"):
            verb = "reads" if kind.startswith("const") else "writes"
            notes.append(f"        program.{verb}(<const void **>&of.{field})")
        fields.append(f"    {kind} {field}")
        values.append(f"        of.{field} = {value}")
        again.append(given)
    notes.sort(key=lambda note: "writes" in note or "True" in note)  # reads first
    arguments = ", ".join(field.split()[-1] for field in fields)
    begin = f'program.begin("{name[5:]}", sizeof({name}_record), <Again>{name}_again)'
    return [
        f"cdef struct {name}_record:",
        *fields,
        f"cdef int {name}_again({name}_record *of) noexcept nogil:",
        f"    return c_{name}({', '.join(again)})",
        f"cdef void {name}_note({parameters}) noexcept with gil:",
        "    program = <Program>recorder",
        "    try:",
        f"        of = <{name}_record *>{begin}",
        *values,
        *notes,
        "    except Exception as error:",
        "        program.problem = error",
        f"cdef int {name}({parameters}) noexcept nogil:",
        "    if recorder != NULL:",
        f"        {name}_note({arguments})",
        f"    return c_{name}({arguments})",
    ]


def passed_on(kind, name, parameters):
    """A Cython function that calls the C function."""
    arguments = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
    return [
        f"cdef {kind} {name}({parameters}) noexcept nogil:",
        f"    {'' if kind == 'void' else 'return '}c_{name}({arguments})",
    ]


def write_cython_declarations():
    """Write what _pydl_core.pxd and .pyx include: each C function, declared and passed on.

    A Cython module that cimports pydl._pydl_core cannot link to the C functions themselves; it gets
    the addresses of Cython functions, and numba finds them in the same place.
    """
    declared, defined = ["# Written by setup.py from csrc/kernels.def and csrc/pydl.h."], []
    for kind, name, parameters in c_functions():
        declared.append(f"cdef {kind} {name}({parameters}) noexcept nogil")
        defined.append('cdef extern from "pydl.h" nogil:')
        defined.append(f'    {kind} c_{name} "{name}"({parameters})')
        if parameters.startswith("dtype_code dtype") and name not in QUERIES:
            defined += recorded(name, parameters)
        else:
            defined += passed_on(kind, name, parameters)
    for name, lines in (("declared", declared), ("defined", declared[:1] + defined)):
        path, text = Path(f"pydl/_pydl_core/functions_{name}.pxi"), "\n".join(lines) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


# The largest first, with options that override the rest's. By gcc 12's -O3 kernels compile half as
# long again as by these of -O2 and are a fiftieth faster; most of that is short loops unrolled,
# which is kept for the newest CPUs. For those of before 2013, passes are left out that take a third
# of the time. The bindings only check and pass on; Cython makes their source meanwhile.
BINDINGS = "build/cython/pydl/_pydl_core.c"
GCC_QUICKER = ["-O2", "-ftree-vectorize", "-fvect-cost-model=dynamic", "-funswitch-loops"]
GCC_QUICKEST = [*GCC_QUICKER, "-fno-tree-pre", "-fno-tree-vrp", "-fno-ipa-cp", "-fno-ipa-sra",
                "-fno-gcse", "-fno-schedule-insns2", "-fno-code-hoisting",
                "-fno-thread-jumps"]  # fmt: skip
GCC_QUICK = [*GCC_QUICKER, "-fpeel-loops"]
OF_GCC = (GCC_QUICK, GCC_QUICKER, GCC_QUICKEST)
LARGEST = {
    "avx512.c": GCC_QUICK,
    "avx2.c": GCC_QUICKER,
    "baseline.c": GCC_QUICKEST,
    "_pydl_core.c": ["-O1"],
    "neon.c": [],
}


def is_gcc(command):
    """Whether a compiler says so; one that is not there fails where it is to compile."""
    try:
        said = subprocess.run([command, "--version"], capture_output=True, text=True)
    except OSError:
        return False
    return "Free Software Foundation" in said.stdout


def make_bindings():
    """Let Cython write the bindings' C source, if it is older than what it is made of."""
    directives = {"language_level": 3, "freethreading_compatible": True}
    cythonize("pydl/_pydl_core.pyx", build_dir="build/cython", compiler_directives=directives)


class BuildInParallel(build_ext):
    """Makes and compiles the sources of an extension at the same time: each takes 10 to 40 s."""

    def build_extension(self, ext):
        """Build one extension; the compiler's calls for single files go to a pool."""
        compile_all, compile_one = self.compiler.compile, self.compiler._compile
        order = [*LARGEST]
        quicker = is_gcc(self.compiler.compiler_so[0])

        def rank(job):
            name = os.path.basename(job[1])
            return order.index(name) if name in LARGEST else len(order)

        def compile_source(made, source, *rest):
            if source == BINDINGS:
                make_bindings()
            compile_one(made, source, *rest)

        def compile_in_pool(*args, **kwargs):
            waiting = []
            self.compiler._compile = lambda *job: waiting.append(job)
            objects = compile_all(*args, **kwargs)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                jobs = []
                for made, source, suffix, cc_args, options, defines in sorted(waiting, key=rank):
                    more = LARGEST.get(os.path.basename(source), [])
                    if quicker or more not in OF_GCC:
                        options = [*options, *more]
                    jobs.append(
                        pool.submit(compile_source, made, source, suffix, cc_args, options, defines)
                    )
                for job in jobs:
                    job.result()
            return objects

        self.compiler.compile = compile_in_pool
        super().build_extension(ext)


class BuildWithLecture(build_py):
    """Puts the scripts of the lecture into the package, where `pydl lecture` finds them."""

    def run(self):
        """Copy the package's modules, then the scripts; an editable install finds them itself."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib, "pydl/lecture")
            self.mkpath(str(folder))
            for script in sorted(glob("examples/lecture/*.py")):
                self.copy_file(script, str(folder))


write_cython_declarations()
core = Extension(
    "pydl._pydl_core",
    sources=[BINDINGS, *sorted(glob("csrc/*.c")), *sorted(glob("csrc/isa/*.c"))],
    depends=[
        "pydl/_pydl_core.pyx",
        "pydl/_pydl_core.pxd",
        *glob("pydl/_pydl_core/*.pxi"),
        *glob("csrc/**/*.[ch]", recursive=True),
        *glob("csrc/*.def"),
    ],
    include_dirs=["csrc"],
    extra_compile_args=[
        "-std=gnu11",
        "-O3",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-g0",
        "-Wno-psabi",
    ],
    extra_link_args=["-pthread"],
)

setup(
    ext_modules=[core],
    cmdclass={"build_ext": BuildInParallel, "build_py": BuildWithLecture},
)
