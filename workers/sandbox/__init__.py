"""What a process that reads strangers' bytes may not do, enforced by the kernel in layers.

    kernel     system calls that Python does not wrap: namespaces, capabilities, prctl
    landlock   which files may be read and written; TCP, abstract sockets and signals beside that
    seccomp    which system calls exist at all
    probe      the same protections, measured by trying to break each of them from inside

Each layer does what the kernel allows and says whether it is in force. No layer alone is relied on.
"""
