/* pydl's kernels in a Python extension module, through the table in a capsule: nothing linked. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pydl_api.h>
#include <string.h>

static const pydl_api *pydl;

static PyObject *relu(PyObject *module, PyObject *array)
{
    Py_buffer view;
    int status;
    (void)module;
    if (PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE | PyBUF_FORMAT))
        return NULL;
    if (!view.format || (strcmp(view.format, "f") && strcmp(view.format, "d"))) {
        PyBuffer_Release(&view);
        PyErr_SetString(PyExc_TypeError, "array: expected float32 or float64");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = pydl->relu_forward(view.format[0] == 'f' ? PYDL_F32 : PYDL_F64, view.len / view.itemsize, view.buf, view.buf);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    if (status != PYDL_OK)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"relu", relu, METH_O, "relu(array): set the negative elements of a C-contiguous array to 0."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "extension", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_extension(void)
{
    pydl = pydl_import();
    return pydl ? PyModule_Create(&module) : NULL;
}
