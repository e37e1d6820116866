---------------------------- MODULE pcp ----------------------------
(* SPDX-License-Identifier: GPL-2.0-or-later

   Protocol P: Linux (2020) per-CPU page lists versus page isolation, in PlusCal.  The same steps,
   under the same labels, as examples/protocol_p.py and pcp.pml, so that the number of distinct
   states must be the same.  All designs, and CHK; neither the other options nor the sysctl writer. *)
EXTENDS Naturals, Sequences, FiniteSets, TLC

CONSTANTS DESIGN, NC, NP, W, K, OWN, NI, HIGH, BATCH, CHK

NONE  == 255
Pages == 0..NP-1
Cpus  == 0..NC-1
Blk(q) == q \div 2
Min(a, b) == IF a < b THEN a ELSE b
Lowest(Z) == CHOOSE a \in Z : \A b \in Z : a <= b

(* --algorithm pcp
variables
  st = [q \in Pages |-> IF q < OWN THEN "alloc" ELSE "mov"],
  type = [b \in 0..(NP \div 2)-1 |-> "mov"],
  nr = 0, zlock = FALSE,
  irq = [c \in Cpus |-> FALSE], pend = [c \in Cpus |-> FALSE],
  cnt = [c \in Cpus |-> 0], high = [c \in Cpus |-> HIGH], bat = [c \in Cpus |-> BATCH],
  pl = [c \in Cpus |-> <<>>],          \* head first
  dmutex = FALSE, zhigh = HIGH, zbat = BATCH,
  rd = 0, bhmutex = FALSE;

define
  Cpu(w) == w % NC
  Movable == {q \in Pages : st[q] = "mov"}
  IrqOn == \A c \in Cpus : ~irq[c]
end define;

fair process worker \in 0..W-1
variables pg = IF self < OWN THEN self ELSE NONE, k = 0, n = 0, p = 0, i = 0, mt = "mov";
begin
TOP: if pg # NONE then                                        \* F1
       mt := type[Blk(pg)]; goto F2;
     else                                                     \* A1
       await ~irq[Cpu(self)]; irq[Cpu(self)] := TRUE;
       if cnt[Cpu(self)] = 0 then goto A2; else goto A7; end if;
     end if;
F2:  await ~irq[Cpu(self)]; irq[Cpu(self)] := TRUE;
     if mt = "iso" then goto F3; else goto F8; end if;
F3:  await ~zlock; zlock := TRUE;
F4:  mt := type[Blk(pg)];
F5:  st[pg] := mt; pg := NONE; mt := "mov";
F6:  zlock := FALSE; goto F14;
F8:  pl[Cpu(self)] := <<pg>> \o pl[Cpu(self)]; st[pg] := "pcp"; pg := NONE;
F9:  cnt[Cpu(self)] := cnt[Cpu(self)] + 1;
F10: if cnt[Cpu(self)] >= high[Cpu(self)] then goto F11; else goto F14; end if;
F11: n := Min(bat[Cpu(self)], cnt[Cpu(self)]);
F12: await ~zlock; zlock := TRUE;
B1:  i := IF nr > 0 THEN 1 ELSE 0;
B2:  p := pl[Cpu(self)][Len(pl[Cpu(self)])];
     pl[Cpu(self)] := SubSeq(pl[Cpu(self)], 1, Len(pl[Cpu(self)]) - 1);
B3:  cnt[Cpu(self)] := cnt[Cpu(self)] - 1;
B4:  mt := IF i = 1 THEN type[Blk(p)] ELSE "mov";
B5:  st[p] := mt; mt := "mov"; p := 0; n := n - 1;
     if n > 0 then goto B2; else i := 0; goto B6; end if;
B6:  zlock := FALSE; goto F14;
F14: irq[Cpu(self)] := FALSE; k := Min(k + 1, K);
     if k < K then goto TOP; else goto Done; end if;
A2:  n := bat[Cpu(self)];
A3:  await ~zlock; zlock := TRUE;
     if Movable # {} then goto A4; else n := 0; goto A5; end if;
A4:  p := Lowest(Movable); st[p] := "pcp";
A4b: pl[Cpu(self)] := Append(pl[Cpu(self)], p); p := 0; i := i + 1;
     n := IF Movable # {} THEN n - 1 ELSE 0;
     if n > 0 then goto A4; else goto A5; end if;
A5:  zlock := FALSE; if i = 0 then goto A9; else goto A6; end if;
A6:  cnt[Cpu(self)] := cnt[Cpu(self)] + i; i := 0;
A7:  pg := Head(pl[Cpu(self)]); pl[Cpu(self)] := Tail(pl[Cpu(self)]); st[pg] := "alloc";
A8:  cnt[Cpu(self)] := cnt[Cpu(self)] - 1;
A9:  irq[Cpu(self)] := FALSE; k := Min(k + 1, K);
     if pg # NONE \/ k < K then goto TOP; else goto Done; end if;
end process;

fair process kworker \in {100 + c : c \in Cpus}
variables kn = 0, kp = 0, ki = 0, kmt = "mov";
begin
K1:  await pend[self-100] /\ ~irq[self-100]; irq[self-100] := TRUE;
K2:  kn := cnt[self-100]; if kn = 0 then goto K8; else goto K3; end if;
K3:  await ~zlock; zlock := TRUE;
KB1: ki := IF nr > 0 THEN 1 ELSE 0;
KB2: kp := pl[self-100][Len(pl[self-100])];
     pl[self-100] := SubSeq(pl[self-100], 1, Len(pl[self-100]) - 1);
KB3: cnt[self-100] := cnt[self-100] - 1;
KB4: kmt := IF ki = 1 THEN type[Blk(kp)] ELSE "mov";
KB5: st[kp] := kmt; kmt := "mov"; kp := 0; kn := kn - 1;
     if kn > 0 then goto KB2; else ki := 0; goto KB6; end if;
KB6: zlock := FALSE; goto K8;
K8:  irq[self-100] := FALSE;
K9:  pend[self-100] := FALSE; goto K1;
end process;

fair process isolator \in {200 + b : b \in 0..NI-1}
variables x = 0, m = {}, first = FALSE, t = 0;
begin
S:   if DESIGN = 3 then rd := rd + 1; goto I1;                 \* R1 (no sysctl here)
     elsif DESIGN = 4 then await ~bhmutex; bhmutex := TRUE; goto M2;
     else await ~zlock; zlock := TRUE; goto I2;                \* I1
     end if;
M2:  bat[x] := 1;
M3:  high[x] := 0; x := (x + 1) % NC; if x # 0 then goto M2; else goto D1; end if;
D1:  await ~dmutex; dmutex := TRUE;
     if CHK then goto D2; else m := Cpus; goto D3; end if;
D2:  with m2 = IF cnt[x] > 0 THEN m \cup {x} ELSE m do
       m := m2;
       if x + 1 < NC then x := x + 1; goto D2;
       elsif m2 = {} then x := 0; goto D5;
       else x := Lowest(m2); goto D3; end if;
     end with;
D3:  pend[x] := TRUE;
     with r = {c \in m : c > x} do
       if r # {} then x := Lowest(r); goto D3; else x := Lowest(m); goto D4; end if;
     end with;
D4:  await ~pend[x];
     with r = {c \in m : c > x} do
       if r # {} then x := Lowest(r); goto D4; else x := 0; m := {}; goto D5; end if;
     end with;
D5:  dmutex := FALSE;
     if DESIGN = 4 then goto I1; elsif DESIGN = 2 then goto T1; else goto C1; end if;
I1:  await ~zlock; zlock := TRUE;
I2:  type[self-200] := "iso";
I3:  if st[2*(self-200)] = "mov" then st[2*(self-200)] := "iso"; end if;
I3b: if st[2*(self-200)+1] = "mov" then st[2*(self-200)+1] := "iso"; end if;
I4:  nr := nr + 1; first := (nr = 1);
     if DESIGN = 3 /\ first then goto I4h; else goto I5; end if;
I4h: high[x] := 0; x := (x + 1) % NC; if x # 0 then goto I4h; else goto I5; end if;
I5:  zlock := FALSE; if DESIGN = 4 then goto C1; else goto D1; end if;
T1:  await ~zlock; zlock := TRUE;
T2:  t := IF st[2*(self-200)] = "iso" THEN 1 ELSE 0;
T2b: t := IF t = 1 /\ st[2*(self-200)+1] = "iso" THEN 1 ELSE 0;
T3:  zlock := FALSE; if t = 0 then goto D1; else t := 0; goto T4; end if;
T4:  first := FALSE; goto Done;
C1:  await st[2*(self-200)] # "alloc" /\ st[2*(self-200)+1] # "alloc" /\ IrqOn;
     assert st[2*(self-200)] = "iso" /\ st[2*(self-200)+1] = "iso";
     first := FALSE;
     if DESIGN = 1 then goto Done; else goto U1; end if;
U1:  await ~zlock; zlock := TRUE;
U2:  type[self-200] := "mov";
U3:  if st[2*(self-200)] = "iso" then st[2*(self-200)] := "mov"; end if;
U3b: if st[2*(self-200)+1] = "iso" then st[2*(self-200)+1] := "mov"; end if;
U4:  nr := nr - 1;
     if DESIGN = 3 then
       first := (nr = 0);
       if first then goto U4h; else goto U5; end if;
     else goto U5; end if;
U4h: high[x] := zhigh; x := (x + 1) % NC; if x # 0 then goto U4h; else goto U5; end if;
U5:  zlock := FALSE; if DESIGN = 3 then goto R2; else goto M5; end if;
R2:  rd := rd - 1; first := FALSE; goto Done;
M5:  bat[x] := zbat;
M6:  high[x] := zhigh; x := (x + 1) % NC; if x # 0 then goto M5; else goto M7; end if;
M7:  bhmutex := FALSE; goto Done;
end process;
end algorithm; *)
\* BEGIN TRANSLATION
\* END TRANSLATION

Quiet == /\ \A w \in 0..W-1 : pc[w] = "Done"
         /\ \A b \in 0..NI-1 : pc[200+b] = "Done"
         /\ \A c \in Cpus : pc[100+c] = "K1" /\ ~pend[c]
NextQ == Next \/ (Quiet /\ UNCHANGED vars)
SpecQ == Init /\ [][NextQ]_vars
HighZero == DESIGN = 3 /\ ~zlock /\ nr > 0 => \A c \in Cpus : high[c] = 0
====================================================================
