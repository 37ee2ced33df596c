"""The only package that touches the inngest SDK: its internals, apps and versions. Private."""
