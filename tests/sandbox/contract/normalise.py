"""What differs from run to run and from machine to machine, replaced by names: both the recorded and the seen text go through here.

Everything else is compared to the letter.
"""

import re

# (pattern, replacement), in this order, on each line.
RULES = [
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<uuid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
    (r"(resourceVersion: )\"\d+\"", r"\1<number>"),
    # names that controllers make: pod of a deployment, replica set, pod of a daemon set
    (r"\b(calico-kube-controllers|coredns|hostpath-provisioner|controller|registry)-[0-9a-f]{8,10}-[a-z0-9]{5}\b", r"\1-<id>"),
    (r"\b(calico-kube-controllers|coredns|hostpath-provisioner|controller|registry)-[0-9a-f]{8,10}\b", r"\1-<id>"),
    (r"\b(calico-node|speaker)-[a-z0-9]{5}\b", r"\1-<id>"),
    # addresses that the cluster gives: all but those of the API server and of DNS
    (r"\b10\.152\.183\.(?!1\b|10\b)\d+\b", "<cluster-ip>"),
    (r"(/snap/microk8s/)\w+(/[a-z]+\.wrapper)", r"\1<revision>\2"),
    (r"\b80:3\d{4}/TCP", "80:<port>/TCP"),
    (r"join \S+:25000/[0-9a-f]{32}/[0-9a-f]{12}", "join <machine>:25000/<token>"),
    (r"\"\S*[0-9a-f]{32}/[0-9a-f]{12}\"", '"<token>"'),
    (r": line \d+: (read|USER):", r": line <number>: \1:"),
    (r"(expire in) \d+ days", r"\1 <number> days"),
    (r"(certificate-authority-data|client-certificate-data|client-key-data): .*", r"\1: <cut>"),
    (r"(inspection-report-)\d{8}_\d{6}", r"\1<time>"),
    (r"/var/snap/microk8s/\d+/", "/var/snap/microk8s/<revision>/"),
    (r"^Date: .*", "Date: <time>"),
]
AGE = re.compile(r"(?<=\s)(\d+[dhms]){1,3}(?=\s|$)")


def line(text, table=False):
    """One line; in a table (of kubectl, of snap) the widths of columns and the ages do not count."""
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    if table:
        text = AGE.sub("<age>", text)
        text = re.sub(r"  +", "  ", text).rstrip()
    return text


def listing(text):
    """A line of `ls -la` as mode, owner, group and name; links, sizes, dates and the folder above do not count."""
    found = re.match(r"([-dlrwxst]{10})\S? +\d+ +(\S+) +(\S+) +\d+ +\w+ +\d+ +[\d:]+ (.*)", text)
    if text.startswith("total ") or found and found[4] == "..":
        return None
    return " ".join(found.groups()) if found else text


def text(lines, machine, address, command):
    """The lines as they are compared."""
    table = bool(re.search(r"kubectl (-n \S+ )?get (?!.*-o (yaml|jsonpath))|snap (services|list|aliases)", command))
    out = []
    for each in lines:
        each = each.replace(address, "<machine>")
        if table:
            each = re.sub(rf"^{machine}(?= )", "<node>", each)
        # snapd says so when a service takes more than a second to stop
        if re.match(r"\d{4}-\d\d-\d\dT\S+ INFO (Waiting for|Task set to wait)", each):
            continue
        if command.startswith("ls -la"):
            each = listing(each)
            if each is None:
                continue
        out.append(line(each, table))
    return out
