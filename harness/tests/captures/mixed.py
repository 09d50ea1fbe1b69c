#!/usr/bin/env python3
"""Writes mixed.pcap beside this file, 1,200 frames by scapy, and mixed.tshark, what tshark makes of them.

    pip install scapy && python3 harness/tests/captures/mixed.py

What is in it is what a link carries: TCP, UDP, ICMP, SCTP, GRE, ESP, IGMP and OSPF over IPv4 and IPv6, plain, tagged and
double-tagged, with options, extension headers and fragments, tunnels, ARP, LLDP, spanning tree, PPPoE and MPLS.
The same frames come out in every run. A line of mixed.tshark is a kind of frame: how many there are, tshark's layers, and the
protocol fields of all IPv4 and of all IPv6 headers in it.
"""

import collections
import pathlib
import random
import subprocess

from scapy.all import ARP, GRE, IP, ICMP, IPv6, LLC, SNAP, STP, TCP, UDP, Dot1AD, Dot1Q, Dot3, Ether, PPPoE, Raw, conf
from scapy.contrib.lldp import LLDPDUChassisID, LLDPDUEndOfLLDPDU, LLDPDUPortID, LLDPDUTimeToLive
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH, ESP
from scapy.layers.ppp import PPP
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.utils import PcapWriter

FRAMES = 1200

rnd = random.Random(0x78647031)
conf.netcache = None


def payload():
    return Raw(bytes(rnd.randrange(256) for _ in range(rnd.choice((0, 1, 8, 18, 30, 64, 120)))))


def mac():
    return "02:00:00:%02x:%02x:%02x" % tuple(rnd.randrange(256) for _ in range(3))


def ethernet(**fields):
    return Ether(src=mac(), dst=rnd.choice((mac(), "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:05")), **fields)


def tags():
    """Up to two tags that the counter opens."""
    vid = lambda: rnd.choice((0, 1, 10, 100, 4095))
    return rnd.choice(
        (
            lambda: None,
            lambda: None,
            lambda: Dot1Q(vlan=vid(), prio=rnd.randrange(8)),
            lambda: Dot1AD(vlan=vid()),
            lambda: Dot1AD(vlan=vid()) / Dot1Q(vlan=vid()),
            lambda: Dot1Q(vlan=vid()) / Dot1Q(vlan=vid()),
        )
    )()


def ports():
    return {"sport": rnd.randrange(1024, 65536), "dport": rnd.choice((53, 80, 443, 5201))}


def ip4(**fields):
    return IP(src="192.0.2.%d" % rnd.randrange(1, 255), dst="198.51.100.%d" % rnd.randrange(1, 255), **fields)


def ip6(**fields):
    return IPv6(src="2001:db8::%x" % rnd.randrange(1, 65535), dst="2001:db8:1::%x" % rnd.randrange(1, 65535), **fields)


KINDS = (
    lambda: ip4() / TCP(seq=rnd.getrandbits(32), flags=rnd.choice(("S", "SA", "A", "PA", "FA", "R")), **ports()) / payload(),
    lambda: ip4() / UDP(**ports()) / payload(),
    lambda: ip4() / ICMP(id=rnd.getrandbits(16), seq=1) / payload(),
    lambda: ip4() / SCTP(**ports()) / SCTPChunkData(data=b"xdproof!"),
    lambda: ip4() / GRE() / ip4() / UDP(**ports()) / payload(),
    lambda: ip4() / ESP(spi=rnd.getrandbits(32), seq=1, data=bytes(32)),
    lambda: ip4() / AH(nh=6, spi=1, seq=1, icv=bytes(12)) / TCP(**ports()),
    lambda: ip4(proto=2, ttl=1, options=[IPOption_Router_Alert()]) / Raw(bytes.fromhex("1600e9ffe0000005")),
    lambda: ip4(proto=89, ttl=1) / Raw(bytes(44)),
    lambda: ip4() / ip4() / TCP(**ports()),
    lambda: ip4() / ip6() / UDP(**ports()),
    lambda: ip4(flags="MF", id=rnd.getrandbits(16)) / UDP(len=2000, **ports()) / Raw(bytes(64)),
    lambda: ip4(frag=100, proto=17, id=rnd.getrandbits(16)) / Raw(bytes(64)),
    lambda: ip6() / TCP(seq=rnd.getrandbits(32), **ports()) / payload(),
    lambda: ip6() / UDP(**ports()) / payload(),
    lambda: ip6() / ICMPv6EchoRequest(id=rnd.getrandbits(16)) / payload(),
    lambda: ip6(hlim=255) / ICMPv6ND_NS(tgt="2001:db8::1"),
    lambda: ip6() / SCTP(**ports()) / SCTPChunkData(data=b"xdproof!"),
    lambda: ip6() / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(),
    lambda: ip6() / IPv6ExtHdrDestOpt() / UDP(**ports()),
    lambda: ip6() / IPv6ExtHdrRouting(addresses=["2001:db8::7"]) / TCP(**ports()),
    lambda: ip6() / IPv6ExtHdrFragment(id=rnd.getrandbits(32), m=1, nh=17) / Raw(bytes(64)),
    lambda: ip6() / ESP(spi=rnd.getrandbits(32), seq=1, data=bytes(32)),
    lambda: ip6(nh=59),
    lambda: ARP(pdst="192.0.2.1", psrc="192.0.2.2", hwsrc=mac()),
)

# What stands behind an Ethernet header only.
UNTAGGED = (
    lambda: Ether(src=mac(), dst="01:80:c2:00:00:0e", type=0x88CC)
    / LLDPDUChassisID(subtype=4, id=bytes(6))
    / LLDPDUPortID(subtype=3, id=bytes(6))
    / LLDPDUTimeToLive(ttl=120)
    / LLDPDUEndOfLLDPDU(),
    lambda: Dot3(src=mac(), dst="01:80:c2:00:00:00") / LLC() / STP(),
    lambda: Dot3(src=mac(), dst=mac()) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / ip4() / UDP(**ports()),
    lambda: ethernet(type=0x8847) / MPLS(label=16, s=1, ttl=64) / ip4() / TCP(**ports()),
    lambda: ethernet() / PPPoE(sessionid=1) / PPP(proto=0x21) / ip4() / UDP(**ports()),
)


def frame(index):
    if index % 100 == 99:
        return ethernet() / ip4() / UDP(**ports()) / Raw(bytes(1472))
    if index % 12 == 11:
        return rnd.choice(UNTAGGED)()
    above, tag = KINDS[index % len(KINDS)](), tags()
    return ethernet() / tag / above if tag else ethernet() / above


def main():
    path = pathlib.Path(__file__).with_name("mixed.pcap")
    writer = PcapWriter(str(path), linktype=1)
    for index in range(FRAMES):
        packet = frame(index)
        packet.time = index / 1000
        writer.write(packet)
    writer.close()
    fields = ("frame.protocols", "ip.proto", "ipv6.nxt")
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [part for field in fields for part in ("-e", field)]
    dissected = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    kinds = collections.Counter(dissected)
    lines = [f"{times}|{kind}\n" for kind, times in sorted(kinds.items())]
    path.with_suffix(".tshark").write_text("".join(lines))


main()
