"""Each command with its help, in the order in which ``--help`` shows them.

The module of a command has its name, with ``run(arguments)`` and, if it has arguments, ``add_arguments(parser)``.
"""

COMMANDS = {
    "status": "Show the state of this node: its daemons, its peers in numbers, and what is wrong.",
    "peers": "List the peers with the stage that each has reached.",
    "peer": "Show one peer, stage by stage, with what to do about the first one that fails, and its history.",
    "watch": "Show the peers until interrupted; with --events, print what happens as it happens.",
    "history": "Show the decisions, the changes to FRR, the kernel and charon, and the peers that came and went.",
    "sas": "Show the IKE_SAs and CHILD_SAs with each peer: addresses, NAT, algorithms, ages, traffic.",
    "kick": "End the IKE_SAs of a peer, so that it connects and registers again.",
    "quarantine": "Take the BGP neighbor from a peer until `release`; it stays connected.",
    "release": "End the quarantine of a peer.",
    "forget": "Forget a peer that is absent and will not return.",
    "reload": "Make the running agent read its configuration again.",
    "resync": "Make the running agent read its daemons again, and correct what differs.",
    "doctor": "Check the setup of this node and show what to do. Exit status 1: faults.",
    "check": "Validate a configuration and show what the agent would do with it.",
    "explain": "Show how the policy judges a certificate, rule by rule, and what follows in FRR. Exit status 1:"
    " denied.",
    "lint-policy": "Show the mistakes in the policy, and the rules in force. Exit status 1: the policy contradicts"
    " itself.",
    "replay": "Judge recorded events by the policy and show which decisions change. Exit status 1: some do.",
    "plan": "Show what the agent would change on this node with this configuration; change nothing. Exit status 1:"
    " there are changes.",
    "reset": "Remove everything the agent owns from FRR and nftables, after asking. Exit status 1: something is"
    " left.",
    "example": "Print the files that come with the program: configuration, services, rules, dashboards.",
    "completion": "Print the completion of these commands for bash, zsh or fish.",
    "man": "Print the man page.",
    "setup": "Make this machine a node of a DMVPN, from one file, or undo that. Exit status 1: the node does not work"
    " yet, 2: something is wrong, and nothing was changed.",
    "renew": "Renew this node's certificate at the CA if it is due, and have charon use it. Exit status 1: that"
    " failed.",
    "ca": "Run the certificate authority: sites, nodes, addresses, certificates, CRLs. Exit status 1: refused, with"
    " nothing changed.",
    "page": "Show this node, or several, in a browser.",
    "run": "Run the agent.",
    "bridge": "Run the bridge between nhrpd and an unpatched strongSwan. SIGUSR2 replaces the running program by the"
    " installed one.",
}
